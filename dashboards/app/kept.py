"""What takes long to compute is made once, however many figures of a page ask for it at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key; those used longest ago are dropped.  For several threads at once.

    Args:
        most: how many are kept; or, with ``weigh``, how much they may weigh together.
        weigh: the weight of a value, such as its bytes.
    """

    def __init__(self, most: int, weigh: Callable[[T], int] = lambda value: 1) -> None:
        self.most = most
        self.weight = 0
        self._weigh = weigh
        self._kept: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._weights: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under ``key``, made by the first who asks while the others wait; a failure is not kept."""
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
            else:
                self._kept.move_to_end(key)
        if mine:
            try:
                value = make()
                self._weighed(key, self._weigh(value))
                future.set_result(value)
            except BaseException as error:
                with self._lock:
                    self._drop(key)
                future.set_exception(error)
        return future.result()

    def _weighed(self, key: Hashable, weight: int) -> None:
        with self._lock:
            self._weights[key] = weight
            self.weight += weight
            while self.weight > self.most:
                self._drop(next(other for other in self._kept if other in self._weights))  # others are still being made

    def _drop(self, key: Hashable) -> None:
        self._kept.pop(key, None)
        self.weight -= self._weights.pop(key, 0)
