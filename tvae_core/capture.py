"""A sequence of work on a CUDA device, recorded once as a graph and started from then on by one call.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs says what such work must not do: wait for
the host, take a number from it, or change its shapes.
"""

import logging
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

REHEARSALS = 3  # as many as PyTorch's documentation takes

Work = Callable[[], None]

log = logging.getLogger("tvae_core")


@torch.no_grad()
def rehearse(work: Work, state: Callable[[], Iterable[Tensor]]) -> None:
    """Do the work a few times, so that libraries set themselves up, and put back what it changed, in place.

    state: the tensors that it changes, as they are at the time of the call. Those that the work makes (an
    optimizer's state) are left at zero, which is where they begin.
    """
    before = {id(tensor): (tensor, tensor.clone()) for tensor in state()}
    for _ in range(REHEARSALS):
        with torch.enable_grad():
            work()
    for tensor in state():
        if id(tensor) in before:
            tensor.copy_(before[id(tensor)][1])
        else:
            tensor.zero_()


def capture(
    work: Work,
    state: Callable[[], Iterable[Tensor]],
    generators: Iterable[torch.Generator],
    device: torch.device,
) -> Work:
    """The same work as one launch, which reads its inputs and the generators' states when it is called.

    Of the state, nothing is changed (see rehearse). Work that cannot be recorded is given back as it is, to
    be launched bit by bit, and the log says why.
    """
    aside = torch.cuda.Stream(device)  # one stream for both: autograd remembers where it was rehearsed
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        rehearse(work, state)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    for g in generators:
        graph.register_generator_state(g)
    try:
        with torch.cuda.graph(graph, stream=aside):
            work()
    except RuntimeError as error:
        log.warning("a step cannot be recorded as a CUDA graph, and is launched bit by bit (%s)", error)
        return work
    return graph.replay
