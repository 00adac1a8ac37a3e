// Perfetto's trace processor as it runs in a browser, for a program: node trace_processor.js FOLDER
//
// FOLDER holds engine_bundle.js, the worker of Perfetto's page, and its .wasm files.  Bytes of the worker's protocol
// (TraceProcessorRpcStream) come in on stdin and go out on stdout.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const folder = process.argv[2];

class XMLHttpRequest {
  open(_, url) {
    this.file = path.join(folder, path.basename(url));
  }
  send() {
    this.response = fs.readFileSync(this.file).buffer;
  }
}

const quiet = () => {};
const worker = {
  console: { log: quiet, warn: quiet, error: console.error },
  TextDecoder,
  TextEncoder,
  URL,
  WorkerGlobalScope: Object, // by this the bundle knows where it runs
  XMLHttpRequest,
  clearTimeout,
  crypto,
  importScripts: quiet,
  location: { href: "" },
  performance,
  setTimeout,
};
worker.self = worker;
vm.createContext(worker);
vm.runInContext(fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf-8"), worker);

function write(bytes) {
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // the pipe is full
    }
  }
}

const port = { postMessage: write };
const Bytes = vm.runInContext("Uint8Array", worker);
setImmediate(() => { // once the worker's own promises are kept
  worker.onmessage({ data: port });
  process.stdin.on("data", (bytes) => port.onmessage({ data: Bytes.from(bytes) }));
  process.stdin.on("end", () => process.exit(0));
});
