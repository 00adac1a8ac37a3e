"""One folder a source of data: ``capture.py`` copies bytes beside the workload, ``parse.py`` reads them later."""
