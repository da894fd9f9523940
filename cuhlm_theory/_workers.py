"""Who works: this process, processes of this machine, or a cluster of dask or ray."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from cuhlm_theory._checks import as_count
from cuhlm_theory.errors import MissingInputError

BACKENDS = ("loky", "dask", "ray")
"""Processes of this machine, or a cluster."""

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Workers, started when there is work and stopped when there is none left.

    >>> list(Workers().each(len, ["a", "bc"]))
    [(0, 1), (1, 2)]
    """

    jobs: int = 1
    """Workers on this machine [-]."""
    backend: str = "loky"
    """One of `BACKENDS`."""
    address: str | None = None
    """Of a dask or ray cluster that is there; by default one is started on this machine."""

    def __post_init__(self) -> None:
        as_count("jobs", self.jobs)
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {self.backend!r}")
        if self.address is not None and self.backend == "loky":
            raise ValueError(f"address must be that of a dask or ray cluster; got {self.address!r} for loky")

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do the work."""
        return self.jobs > 1 or self.backend != "loky"

    def each(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """Give the place of each task and its result, as they come; what is sent elsewhere is pickled."""
        if not self.elsewhere:
            yield from ((place, work(task)) for place, task in enumerate(tasks))
            return
        if not tasks:
            return
        from joblib import Parallel, delayed

        with self._running():
            as_they_come = "list" if self.backend == "ray" else "generator_unordered"  # joblib's ray: at once
            parallel: Any = Parallel(n_jobs=-1 if self.address else self.jobs, return_as=as_they_come)
            yield from parallel(delayed(_placed)(work, place, task) for place, task in enumerate(tasks))

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Connect to a cluster, or start one here, for as long as it is needed."""
        from joblib import parallel_config

        here = self.address is None
        with contextlib.ExitStack() as stack:
            try:
                if self.backend == "dask":
                    own = {"n_workers": self.jobs, "threads_per_worker": 1} if here else {}
                    stack.enter_context(import_module("distributed").Client(self.address, **own))
                elif self.backend == "ray":
                    import_module("ray.util.joblib").register_ray()
                    ray = import_module("ray")
                    ray.init(self.address, **({"num_cpus": self.jobs} if here else {}), log_to_driver=False)
                    stack.callback(ray.shutdown)
            except ModuleNotFoundError as error:
                raise MissingInputError(
                    f"backend {self.backend} needs {error.name}: pip install {error.name}"
                ) from None
            stack.enter_context(parallel_config(backend=self.backend))
            yield


def _placed(work: Callable[[Task], Result], place: int, task: Task) -> tuple[int, Result]:
    return place, work(task)
