"""Every kind of liar by the name that scenarios give it.

| kind | what it does | what must happen |
|---|---|---|
| alone | every result wrong, each liar its own | convicted |
| colluding | every result wrong, all liars alike | convicted |
| rate | wrong on a share of the chunks, all liars on the same ones and alike | convicted, or too rare to matter |
| sleeper | honest for a while, then `colluding` | convicted; its honest past falls with it |
| pair | wrong only where a friend is on the same chunk | convicted, or too rare to matter |
| flaky | an honest machine with rare errors of its own | may be convicted; none of its errors is accepted |
| accuser | wrong only where it is asked to confirm somebody | convicted; the accused is not |
| forger | spreads verdicts that only the creator may sign | nobody believes one; its links are closed |
| whitewasher | always wrong, and back under a new key after each conviction | convicted again and again |
| lazy | never confirms: has 'no result' of what it is asked for | not convicted; others confirm |
| copier | publishes others' sealed votes as its own | convicted |
| equivocator | tells half of its neighbours another commit with the same seq | convicted |
| withholder | votes rightly and never sends a result | not convicted; the work is done by others |
| staller | leases and never finishes | not convicted; the work is done by others |
| inventor | wrong at a rate, all alike, in a class of devices that they made up | convicted, or too rare to matter |
| nudger | off by less than the tolerance between classes | the creator executes what it disputes; may be convicted |
| poisoner | hands on false savepoints of what it has begun | convicted; who went on from them is not |
| eclipser | tells peers that the signaling server cuts off nothing | the victim wastes its time, and nothing else |

Unequal speeds, churn, crashes, partitions and eclipses are the network's and the faults' (scenario.py, faults.py). A
flood of Sybils is a group of any kind with `arrive_s` and a small `speed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .asked import Accuser, Lazy
from .classes import Inventor, Nudger
from .coming_back import Whitewasher
from .copying import Copier
from .eclipsing import Eclipser
from .equivocating import Equivocator
from .forging import Forger
from .pairs import Pair
from .poisoning import Poisoner
from .withholding import Staller, Withholder
from .wrong import Alone, Colluding, Flaky

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crowdcompute.protocol.identity import Signer
    from crowdcompute.simulations.scenario import LiarGroup

    from .behaviour import Band, Behaviour

Plugin: TypeAlias = "Callable[[LiarGroup, Signer, Band], Behaviour]"

KINDS: Mapping[str, Plugin] = {
    "alone": lambda group, signer, band: Alone(signer),
    "colluding": lambda group, signer, band: Colluding(1.0, 0),
    "rate": lambda group, signer, band: Colluding(group.rate, 0),
    "sleeper": lambda group, signer, band: Colluding(1.0, group.after),
    "pair": lambda group, signer, band: Pair(signer, band),
    "flaky": lambda group, signer, band: Flaky(group.rate, signer),
    "accuser": lambda group, signer, band: Accuser(signer),
    "forger": lambda group, signer, band: Forger(signer),
    "whitewasher": lambda group, signer, band: Whitewasher(group.after_s),
    "lazy": lambda group, signer, band: Lazy(signer),
    "copier": lambda group, signer, band: Copier(signer),
    "equivocator": lambda group, signer, band: Equivocator(signer),
    "withholder": lambda group, signer, band: Withholder(),
    "staller": lambda group, signer, band: Staller(),
    "inventor": lambda group, signer, band: Inventor(group.rate),
    "nudger": lambda group, signer, band: Nudger(),
    "poisoner": lambda group, signer, band: Poisoner(signer),
    "eclipser": lambda group, signer, band: Eclipser(),
}
