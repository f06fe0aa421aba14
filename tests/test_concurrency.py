"""Operators are re-entrant: threads, forked processes and DataLoader workers give the same bits.

Each test runs in a child process with a time limit, so that a hang is a failure.
"""

import os
import subprocess
import sys
import textwrap

import pytest

LIMIT = 90  # seconds; a child needs a few

# The sizes are such that the operators use torch's pool.
COMMON = """
import multiprocessing, threading
import torch, pyfast

torch.set_num_threads(2)

def problem(seed):
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 150, 170, generator=random)
    theta = torch.randn(2, 2, 3, generator=random)
    return image, theta, torch.rand(2, 3, 140, 160, generator=random)

def work(image, theta, weights):
    # No operator of torch itself on large tensors: in a forked process those hang.
    image, theta = image.detach().requires_grad_(), theta.detach().requires_grad_()
    fused = pyfast.affine_grid_sample(image, theta, (140, 160))
    grid = pyfast.affine_grid(theta, (2, 3, 140, 160))
    steps = pyfast.grid_sample(image, grid, padding_mode="reflection")
    results = [fused, steps]
    for result in (fused, steps):
        results += torch.autograd.grad(result, [image, theta], weights)
    return [t.detach().numpy().tobytes() for t in results]

problems = [problem(seed) for seed in range(4)]
expected = [work(*p) for p in problems]
"""


def run(script, **environment):
    """Runs COMMON and `script` in a child process, which prints "done" at its end."""
    source = COMMON + textwrap.dedent(script)
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=os.environ | environment,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert child.stdout.endswith("done\n")


def test_threads_give_the_same_bits():
    run("""
        wrong = []

        def repeat(i):
            for _ in range(6):
                if work(*problems[i % 4]) != expected[i % 4]:
                    wrong.append(i)

        threads = [threading.Thread(target=repeat, args=(i,)) for i in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not wrong, wrong
        print("done")
    """)


def test_scratch_memory_can_be_freed_meanwhile():
    run("""
        stop = threading.Event()

        def free():
            while not stop.wait(0.001):
                pyfast.clear_scratch()

        freeing = threading.Thread(target=free)
        freeing.start()
        try:
            for _ in range(10):
                assert [work(*p) for p in problems] == expected
        finally:
            stop.set()
            freeing.join()
        print("done")
    """)


def test_the_thread_count_can_change_meanwhile():
    run("""
        for count in (1, 2, 3, 1, 2):
            torch.set_num_threads(count)
            assert [work(*p) for p in problems] == expected
        print("done")
    """)


def test_threads_that_meet_a_vertex_at_once_make_one_of_it():
    """Each thread has the same points; a window of a few instructions needs many builds. It is
    widest without vector instructions, and keys here take more than a word."""
    run(
        """
        random = torch.Generator().manual_seed(0)
        features = 60 * torch.rand(1, 12, 6000, generator=random).repeat(1, 1, 8)
        expected = pyfast.GaussianFilter(features[..., :6000]).num_vertices
        torch.set_num_threads(8)
        for _ in range(30):
            assert pyfast.GaussianFilter(features).num_vertices == expected
        print("done")
        """,
        PYFAST_CPU_CAPABILITY="baseline",
    )


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
def test_a_forked_process_gives_the_same_bits():
    run("""
        context = multiprocessing.get_context("fork")

        def child(answers):
            answers.put([work(*p) for p in problems] == expected)

        for _ in range(2):
            answers = context.SimpleQueue()
            process = context.Process(target=child, args=(answers,), daemon=True)
            process.start()
            process.join(30)
            assert process.exitcode == 0, "no answer" if process.is_alive() else "failed"
            assert answers.get()
            assert [work(*p) for p in problems] == expected  # the parent is as it was
        print("done")
    """)


@needs_fork
def test_a_process_forked_while_weights_are_looked_up_does_not_wait_for_ever():
    run("""
        import os, signal, time
        from pyfast.ops._winograd_conv import TRANSFORMED

        input, weight = torch.rand(1, 4, 8, 8), torch.rand(4, 4, 3, 3)
        is_held = threading.Event()

        def hold():
            with TRANSFORMED.lock:
                is_held.set()
                time.sleep(0.2)

        holder = threading.Thread(target=hold)
        holder.start()
        is_held.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            pyfast.dilated_conv2d(input, weight, padding=1, algorithm="winograd2")
            os._exit(0)
        holder.join()
        assert os.waitpid(child, 0)[1] == 0
        print("done")
    """)


@needs_fork
def test_dataloader_workers_give_the_same_bits():
    run("""
        class Warped(torch.utils.data.Dataset):
            def __len__(self):
                return len(problems)

            def __getitem__(self, i):
                return i, work(*problems[i]) == expected[i]

        for _ in range(2):
            loader = torch.utils.data.DataLoader(
                Warped(), batch_size=None, num_workers=2, timeout=30, multiprocessing_context="fork"
            )
            assert [(i, bool(same)) for i, same in loader] == [(i, True) for i in range(4)]
            assert [work(*p) for p in problems] == expected
        print("done")
    """)
