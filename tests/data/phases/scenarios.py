"""Less usual ways to train, one after the other; each says its name through the recorder that --auto has loaded.

Prints one line a scenario, so that a test can compare its output with that of a run without instrumentation.
"""

import sys
import warnings

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def scenario(name):
    recorder = sys.modules.get("_edgeprof_recorder")
    if recorder is not None:
        recorder.mark("scenario " + name)
    print(name, flush=True)


def loader(count=32, size=8):
    inputs = torch.arange(count * 4, dtype=torch.float32).reshape(count, 4) / 100
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=size)


def net():
    return nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 1))


def accumulation():  # 4 batches, a step every second one
    model, optimizer = net(), None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for number, (x, y) in enumerate(loader()):
        nn.functional.mse_loss(model(x), y).backward()
        if number % 2:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def two_optimizers():  # a discriminator and a generator step on each of 4 batches
    first, second = net(), net()
    one = torch.optim.SGD(first.parameters(), lr=0.01)
    two = torch.optim.Adam(second.parameters(), lr=0.01)
    for x, y in loader():
        for model, optimizer in ((first, one), (second, two)):
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()


def lbfgs():  # several evaluations a step
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    for x, y in loader():

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)


def no_loader():  # 3 steps of 5 samples that the program makes itself
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        x = torch.ones(5, 4)
        model(x).sum().backward()
        optimizer.step()


def failures():  # a forward, an optimizer and a loader that raise, each survived; then 4 good steps
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    try:
        model(torch.ones(5, 3))
    except RuntimeError:
        pass

    def interrupted(module, inputs):
        raise KeyboardInterrupt

    handle = model[1].register_forward_pre_hook(interrupted)
    try:
        model(torch.ones(5, 4))
    except KeyboardInterrupt:
        handle.remove()

    def broken():
        raise ValueError("closure")

    try:
        optimizer.step(broken)
    except ValueError:
        pass
    for x, y in loader():
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def scaler():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu")
    for x, y in loader():
        with torch.autocast("cpu"):
            loss = nn.functional.mse_loss(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def checkpointed():  # the forward is run again within the backward, in the re-entrant form
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in loader():
        hidden = torch.utils.checkpoint.checkpoint(model[0], x.requires_grad_(), use_reentrant=True)
        nn.functional.mse_loss(model[1](hidden), y).backward()
        optimizer.step()


def compiled():  # in one graph, or torch raises
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    fast = torch.compile(model, backend="eager", fullgraph=True)
    outer = torch.compile(lambda x: model(x) * 2, backend="eager", fullgraph=True)
    for x, y in loader():
        nn.functional.mse_loss(fast(x), y).backward()
        optimizer.step()
        outer(x)


def main():
    warnings.simplefilter("error")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    functions = (no_loader, accumulation, two_optimizers, lbfgs, failures, scaler, checkpointed, compiled)
    for function in functions:
        scenario(function.__name__)
        function()
    scenario("end")


if __name__ == "__main__":
    main()
