"""Which request has which sequence of the KV cache, and what it takes over from others.

What a prompt shares with another is copied from the sequence that holds it, or waited for. Models whose
memory cannot be cut (recurrent ones; a sliding window that has moved on) share by a holder: a sequence
that keeps exactly the common prefix, and is copied whole.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from gptcli.engine.backend import Backend
from gptcli.engine.cells import CellLedger, common_prefix
from gptcli.engine.prompt_cache import LEAST_TOKENS, PromptCache
from gptcli.engine.strands import AnyStrand, ScoreStrand

SMALLEST_WINDOW = 4096  # tokens; a window grows when a request asks for more
LEAST_SHARED = 8  # tokens of a common prefix: fewer are as quickly evaluated
MOST_LOST = (
    256  # tokens of a sequence that another prompt takes over: more of them may be asked for again
)
LEAST_RESTORED = 128  # tokens that the disk must hold more than the memory
TAIL_TOKENS = 96  # of a prompt, that the next one may not have in common
CELL_STEP = 1024  # a cache for several requests grows by so many tokens
BRANCHES = 8  # continuations that are scored at once


class SharedCache:
    """The sequences of a backend's open context: slots for requests, a holder, and those for branches.

    `slots` is 0 before a context is open. `active` is the scheduler's own list of strands on slots.
    """

    def __init__(
        self,
        backend: Backend,
        parallel: int,
        active: list[AnyStrand],
        prompt_cache: PromptCache | None = None,
    ) -> None:
        self._backend, self._parallel, self._active = backend, parallel, active
        self._prompt_cache = prompt_cache
        self.slots = 0
        self.scratch = range(0)  # the sequences for branches
        self.cells = 0
        self.ledger = CellLedger(0)
        self.must_drain = False  # the context is to be opened anew, larger
        self._clock = 0
        self._last_used: list[int] = []

    def fits_empty(self, prepared: Sequence[AnyStrand]) -> bool:
        """Tell whether the open context serves what is prepared, when nothing else runs."""
        wants_more_slots = min(len(prepared), self._parallel) > self.slots
        too_small = min(prepared[0].cells, self._backend.info.context_limit) > self.cells
        needs_scratch = not self.scratch and _needs_branches(prepared[0])
        return bool(self.slots) and not (
            wants_more_slots or too_small or needs_scratch or self.must_drain
        )

    def open(self, prepared: Sequence[AnyStrand]) -> None:
        """Open a context for what is to come. Raises MemoryFitError."""
        backend, wanted = self._backend, [strand.cells for strand in prepared]
        is_lone_answer = len(wanted) == 1 and not _needs_branches(prepared[0])
        slots = 1 if is_lone_answer else self._parallel
        limit = backend.info.context_limit
        needed = max(SMALLEST_WINDOW, _power_of_two(max(wanted[:slots])))
        single = min(limit, backend.window_asked or needed)
        # Who scores alone has shorter texts scored in between, which must not drive out the first.
        cells = single if is_lone_answer else min(backend.most_cells(), single + SMALLEST_WINDOW)
        if len(wanted) > 1 and slots > 1:
            typical = sum(wanted) / len(wanted)
            doubled = 2 * self.cells if self.must_drain else 0
            cells = -(-int(max(doubled, typical * slots)) // CELL_STEP) * CELL_STEP
            cells = max(single, min(backend.most_cells(), cells))
        # A holder of shared prefixes and sequences for branches; a lone answer does with its own.
        sequences = slots if is_lone_answer else slots + 1 + BRANCHES
        tokens, state = self._carried(prepared[0])
        self.slots = 0
        self.cells = backend.open(sequences, cells)
        self.slots, self.must_drain = slots, False
        self.scratch = range(slots + 1, sequences)
        self.ledger = CellLedger(sequences)
        self._last_used = [0] * sequences
        if state is not None and self._backend.restore_state(0, bytearray(state)):
            self.ledger.extend(0, tokens)

    def _carried(self, strand: AnyStrand) -> tuple[Sequence[int], memoryview | None]:
        """Return what a larger context takes over for a request: a chat grows, and is not read again."""
        source, common = self._best_source(strand.tokens, range(self.slots))
        tokens = list(self.ledger.tokens(source)) if source >= 0 else []
        if min(common, len(tokens)) < LEAST_TOKENS:
            return (), None
        return tokens, self._backend.save_state(source)

    def place(self, strand: AnyStrand, free: Sequence[int]) -> bool:
        """Put a strand on a free sequence, behind what another one holds of it; False: no room yet."""
        prompt = strand.tokens[: strand.prompt_tokens - 1]  # the last token's logits are wanted
        source, length = self._best_source(prompt, free)
        if length < LEAST_SHARED:
            source, length = -1, 0
        own = self._own(source, length, free)
        if not self.make_room(strand.cells - length, keep={own, source}):
            if self._active:
                self.must_drain = len(self._active) * 2 < self.slots and self._can_grow()
                return False
            source, length = -1, 0
            self._empty()
        strand.sequence = own
        self._clock += 1
        for sequence in {own, source} - {-1}:
            self._last_used[sequence] = self._clock
        self._active.append(strand)
        if self._restore(strand, prompt, length):
            return True
        if source == own:
            self._keep(strand, length)
        else:
            self.clear(own)
            if length:
                self._share(strand, source, length)
        return True

    def _own(self, source: int, length: int, free: Sequence[int]) -> int:
        """Return the sequence for a strand: the free source itself, unless much of it would be lost."""
        others = [n for n in free if n != source] or free
        lost = len(self.ledger.tokens(source)) - length if source >= 0 else 0
        if source in free and lost <= MOST_LOST:
            return source
        return min(others, key=lambda n: self._last_used[n])

    def _best_source(self, prompt: Sequence[int], free: Sequence[int]) -> tuple[int, int]:
        """Return the sequence that holds, or will hold, most of what the prompt begins with.

        Of several the longest unused free one: it needs no copy.
        """
        found = {n: common_prefix(self.ledger.tokens(n), prompt) for n in (*free, *self._holder)}
        for other in self._active:
            found[other.sequence] = common_prefix(other.tokens[: other.prompt_tokens], prompt)
        most = max(found.values(), default=0)
        best = [n for n, length in found.items() if length == most]
        return min(best, key=lambda n: (n not in free, self._last_used[n]), default=-1), most

    @property
    def _holder(self) -> tuple[int, ...]:
        """The sequence that keeps a shared prefix for models whose memory cannot be cut."""
        return (self.slots,) if self.slots > 1 else ()

    def make_room(self, cells: int, keep: set[int]) -> bool:
        """Clear idle sequences until so many cells are free, besides those that are promised."""
        wanted = sum(strand.promised for strand in self._active) + cells
        return self.free(wanted, keep) >= wanted

    def free(self, wanted: int, keep: Set[int] = frozenset()) -> int:
        """Clear idle sequences, the longest unused first, until so many cells are free; say how many."""
        busy = {strand.sequence for strand in self._active} | keep
        idle = [n for n in range(self.slots + len(self._holder)) if n not in busy]
        for sequence in sorted(idle, key=lambda n: self._last_used[n]):
            if self.cells - self.ledger.used >= wanted:
                break
            self.clear(sequence)
        return self.cells - self.ledger.used

    def _can_grow(self) -> bool:
        return self._backend.most_cells() >= 2 * self.cells

    def _restore(self, strand: AnyStrand, prompt: Sequence[int], shared: int) -> bool:
        """Take the prompt's beginning from the disk, if there is much more of it than in memory."""
        if self._prompt_cache is None or len(prompt) - shared < LEAST_TOKENS:
            return False
        found = self._prompt_cache.find(
            prompt, shared + LEAST_RESTORED, only_whole=not self._backend.restores_parts
        )
        if found is None or len(found.tokens) > self.cells - self.ledger.used:
            return False
        self.clear(strand.sequence)
        if not self._backend.restore_state(strand.sequence, found.state):
            return False
        self.ledger.extend(strand.sequence, found.tokens)
        if found.length < len(found.tokens) and not self.truncate(strand.sequence, found.length):
            self.clear(strand.sequence)
            return True  # on an empty sequence: all is evaluated
        strand.evaluated = strand.shared = found.length
        return True

    def mark_for_disk(self, strand: AnyStrand) -> None:
        """See to it that a long prompt can be saved so that another with the same beginning is served.

        A state that cannot be cut is saved somewhat before the end, where a question may differ.
        """
        length = strand.prompt_tokens - 1 - (0 if self._backend.restores_parts else TAIL_TOKENS)
        new = length - strand.evaluated
        if self._prompt_cache is not None and new >= LEAST_TOKENS and strand.mark is None:
            strand.mark = length

    def keep_on_disk(self, strand: AnyStrand) -> None:
        """Save what is evaluated of a prompt, if it was long and new."""
        if self._prompt_cache is not None and strand.evaluated - strand.shared >= LEAST_TOKENS:
            state = self._backend.save_state(strand.sequence)
            if state is not None:
                self._prompt_cache.save(strand.tokens[: strand.evaluated], state)

    def keep_idle(self, prompt: Sequence[int]) -> int:
        """Save the sequence that holds most of a prompt, and wait for it; return its tokens, or 0."""
        if self._prompt_cache is None or not self.slots:
            return 0
        sequence, common = self._best_source(prompt, range(self.slots))
        held = self.ledger.tokens(sequence) if sequence >= 0 else ()
        if min(common, len(held)) < LEAST_TOKENS:
            return 0
        state = self._backend.save_state(sequence)
        if state is None:
            return 0
        self._prompt_cache.save(held, state)
        self._prompt_cache.finish()
        return len(held)

    def _keep(self, strand: AnyStrand, length: int) -> None:
        """Go on from what the strand's own sequence holds."""
        if length == len(self.ledger.tokens(strand.sequence)) or self.truncate(strand.sequence, length):
            strand.evaluated = strand.shared = length
            return
        self.clear(strand.sequence)
        if not self._copy(-1, strand, length):
            self._read(strand, length)

    def _share(self, strand: AnyStrand, source: int, length: int) -> None:
        """Copy a prefix from another sequence, or wait until that has evaluated it."""
        if len(self.ledger.tokens(source)) >= length:
            if not self._copy(source, strand, length):
                self._read(strand, length)
            return
        # The owner stops there once: then even a memory that cannot be cut has the prefix, and no more.
        owner = next(other for other in self._active if other.sequence == source)
        if owner.mark is None:
            owner.mark = length
        strand.waits_for = (source, length)

    def _read(self, strand: AnyStrand, length: int) -> None:
        """Have a prefix evaluated that cannot be copied, by another that begins alike or by this one."""
        least = max(LEAST_SHARED, length // 2)
        for other in self._active:
            common = min(length, common_prefix(other.tokens[: other.prompt_tokens], strand.tokens))
            stop = min(common, other.mark or common)
            is_ahead = other is not strand and other.waits_for is None and other.evaluated < stop
            if is_ahead and stop >= max(least, (other.mark or 0) // 2):
                other.mark = stop
                strand.waits_for = (other.sequence, stop)
                return
        strand.mark = length

    def _copy(self, source: int, strand: AnyStrand, length: int) -> bool:
        """Copy a prefix, from the holder where the memory of the source cannot be cut."""
        wanted = strand.tokens[:length]
        for each in (source, *self._holder):
            held = self.ledger.tokens(each) if each >= 0 else ()
            count = length if each == source else min(length, len(held))
            if count < LEAST_SHARED or held[:count] != wanted[:count]:
                continue
            if self._backend.copy(each, strand.sequence, count, len(held)):
                self.ledger.copy(each, strand.sequence, count)
                strand.evaluated = strand.shared = count
                return True
        return False

    def end_waits(self) -> None:
        """Copy prefixes that have been evaluated by now, for those who waited for them."""
        for strand in self._active:
            if strand.waits_for is None:
                continue
            source, length = strand.waits_for
            will_come = any(s.sequence == source for s in self._active)
            if len(self.ledger.tokens(source)) < length and will_come:
                continue
            strand.waits_for = None
            if not self._copy(source, strand, length):
                self._read(strand, length)

    def hold(self, strand: AnyStrand) -> None:
        """Keep a prefix on the holder, for those whose memory is copied only whole."""
        for holder in self._holder:
            self.clear(holder)
            self.fork(strand.sequence, holder)

    def fork(self, source: int, target: int) -> bool:
        """Give an empty sequence all that another holds."""
        length = len(self.ledger.tokens(source))
        if not self._backend.copy(source, target, length, length):
            return False
        self.ledger.copy(source, target, length)
        return True

    def clear(self, sequence: int) -> None:
        if self.ledger.tokens(sequence):
            self._backend.clear(sequence)
            self.ledger.truncate(sequence, 0)

    def _empty(self) -> None:
        for sequence in range(self.slots + len(self._holder)):
            self.clear(sequence)

    def truncate(self, sequence: int, length: int) -> bool:
        if not self._backend.truncate(sequence, length):
            return False
        self.ledger.truncate(sequence, length)
        return True


def _needs_branches(strand: AnyStrand) -> bool:
    return isinstance(strand, ScoreStrand) and strand.needs_branches


def _power_of_two(count: int) -> int:
    """Return the least power of two that is not smaller."""
    return 1 << max(0, count - 1).bit_length()
