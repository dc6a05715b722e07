"""Invariants 1, 4 and 5: who led when, and that each leader continued from the state of the one before it.

The lease is a kernel lock and leaves no trace. That there were never two leaders is proven from what they wrote: each
frame has one next frame, no epoch writes after a later one has, none writes after it yielded, and on the host's
monotonic clock no turn begins before the turn before it has ended.
"""

from __future__ import annotations

from ...protocol.frame import Frame, Led, Yielded
from .report import MOST, Death, SchemaChange, Transfer
from .scope import Scope

__all__ = ["LeaderAudit"]


class LeaderAudit:
    """Follows epochs and transfers."""

    def __init__(self, scope: Scope) -> None:
        self.transfers: list[Transfer] = []
        self.total = 0
        self.starts = 0
        self.deaths: list[Death] = []
        self.deaths_total = 0
        self.resets: list[int] = []
        self.schemas: list[SchemaChange] = []
        self.epochs: tuple[int, int] | None = None
        self.epoch = 0
        self._scope = scope
        self._led: int | None = None
        """The epoch of the last `lead` frame; None when the journal does not reach back to one."""
        self._known = True
        self._leader = ""
        self._releases: dict[str, str] = {}
        self._yielded: Yielded | None = None
        self._ended = ""
        """How the epoch ended, "" while it lasts."""
        self._first: Transfer | None = None
        """The transfer that waits for its first tick; below, the death that does."""
        self._death: Death | None = None
        self._mono: int | None = None
        self._schema: tuple[int, str] | None = None

    @property
    def leader(self) -> str:
        """The worker that leads, according to the frames."""
        return self._leader

    def resume(self, epoch: int, number: int) -> None:
        """The state continues from a snapshot."""
        if number >= 0 and self._led is None:
            self._known = False
        self.epoch = max(self.epoch, epoch) if number >= 0 else self.epoch

    def severed(self) -> None:
        """Frames before this one are missing: how they ended is not known."""
        self._mono = None
        self._yielded = None
        self._ended = ""
        self._known = False

    def frame(self, frame: Frame) -> bool:
        """Process a frame; return whether it begins another worker's epoch."""
        epoch, kind = frame.epoch, frame.kind
        scope = self._scope
        if scope.open:
            low, high = self.epochs or (epoch, epoch)
            self.epochs = (min(low, epoch), max(high, epoch))
        schema = (frame.schema.version, frame.schema.fingerprint)
        if schema != self._schema:
            self._reshaped(frame, schema)
        if epoch < self.epoch:
            scope.breaks(5, f"a frame of epoch {epoch} came after epoch {self.epoch} had begun")
            scope.breaks(1, f"epoch {epoch} still wrote while epoch {self.epoch} led: two leaders")
            return False
        if kind == "lead":
            self._lead(frame)
            return True
        if kind == "reset":
            if scope.open and len(self.resets) < MOST:
                self.resets.append(frame.number)
        elif epoch != self._led and self._known:
            scope.breaks(5, f"epoch {epoch} wrote a {kind} frame before its lead frame")
            self._led = epoch
            self._ended = ""
        elif self._ended and epoch == self.epoch:
            scope.breaks(1, f"epoch {epoch} wrote a {kind} frame after its leader had {self._ended}")
        self.epoch = epoch
        self._in_line(frame)
        if kind == "yield":
            self._ended = "yielded"
            self._yielded = frame.about if isinstance(frame.about, Yielded) else None
        elif kind == "stop":
            self._ended = "stopped the bot"
        return False

    def tick(self, frame: Frame, missed: int) -> None:
        """Process a tick: the first one after a transfer completes the record of it."""
        death = self._death
        if death is not None and frame.epoch == death.epoch:
            death.seq, death.missed = frame.seq, missed
            death.heartbeats = frame.timing.heartbeat
            self._death = None
        transfer = self._first
        if transfer is not None and frame.epoch == transfer.epoch:
            transfer.seq = frame.seq
            transfer.late_us = frame.timing.late / 1000
            transfer.missed = missed
            transfer.heartbeats = frame.timing.heartbeat
            self._first = None

    def _lead(self, frame: Frame) -> None:
        scope, epoch, led = self._scope, frame.epoch, frame.about
        if not isinstance(led, Led):
            scope.breaks(4, f"epoch {epoch} began without a lead frame")
            led = Led("", "", "first")
        if self._led is not None and epoch <= self._led:
            scope.breaks(
                5,
                f"epoch {epoch} was opened by {led.worker or 'an unnamed worker'} when it had been opened before",
            )
        self._death = None
        if scope.open and (led.cause == "failover" or (led.cause == "first" and led.before)):
            self._bury(frame, led)
        if led.cause == "first":
            # The host may have been restarted, and its monotonic clock with it.
            self._mono = None
            if scope.open:
                self.starts += 1
        else:
            self._check_way(led)
            self._note(frame, led)
        self._in_line(frame)
        self._led = self.epoch = epoch
        self._known = True
        self._leader = led.worker
        self._releases[led.worker] = led.release
        self._yielded = None
        self._ended = ""

    def _check_way(self, led: Led) -> None:
        """Check the cause of a lead: the lease was handed over or taken back, or the leader died."""
        yielded, scope = self._yielded, self._scope
        if led.cause == "failover" or not self._known:
            return
        if yielded is None:
            scope.breaks(1, f"{led.worker} leads by {led.cause}, but no leader had yielded")
        elif led.cause == "handoff" and (led.worker, led.order) != (yielded.to, yielded.order):
            scope.breaks(
                1,
                f"{led.worker} leads by handoff (order {led.order}) that was meant for {yielded.to} "
                f"(order {yielded.order})",
            )
        elif led.cause == "takeback" and self._leader and led.worker != self._leader:
            scope.breaks(1, f"{led.worker} took back what {self._leader} had yielded")

    def _bury(self, frame: Frame, led: Led) -> None:
        self.deaths_total += 1
        worker = led.before or self._leader
        self._death = Death(
            worker=worker,
            release=self._releases.get(worker, ""),
            epoch=frame.epoch,
            number=frame.number,
            successor=led.worker,
            cause=led.cause,
            in_doubt=list(led.in_doubt),
        )
        if len(self.deaths) < MOST:
            self.deaths.append(self._death)

    def _note(self, frame: Frame, led: Led) -> None:
        self._first = None
        if not self._scope.open:
            return
        self.total += 1
        before = self._leader or led.before
        transfer = Transfer(
            deployment=led.deployment,
            number=frame.number,
            epoch=frame.epoch,
            cause=led.cause,
            from_=before,
            from_release=self._releases.get(before, ""),
            to=led.worker,
            to_release=led.release,
            blackout_us=led.blackout / 1000 if led.blackout else None,
        )
        self._first = transfer
        if len(self.transfers) < MOST:
            self.transfers.append(transfer)

    def _in_line(self, frame: Frame) -> None:
        """No turn begins before the one before it has ended."""
        timing = frame.timing
        if self._mono is not None and timing.mono - timing.took < self._mono:
            early = (self._mono - timing.mono + timing.took) / 1e6
            self._scope.breaks(
                1, f"a {frame.kind} turn began {early:.3f} ms before the turn before it had ended"
            )
        self._mono = timing.mono

    def _reshaped(self, frame: Frame, schema: tuple[int, str]) -> None:
        if self._schema is not None and self._scope.open and len(self.schemas) < MOST:
            self.schemas.append(SchemaChange(frame.number, frame.seq, self._schema[0], schema[0]))
        self._schema = schema
