"""Labels that a person looks up: which, and what the answers tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from equipoise.problems.answers import COLUMNS, RANDOM, Answers
from equipoise.problems.labelled import Labelled
from equipoise.study.auditing.judged import Judged
from equipoise.study.intervals import CONFIDENCE, Interval, format_share

Floats = NDArray[np.float64]

LIKELY = "likely wrong"


def choose(
    labelled: Labelled, judged: Mapping[str, Judged], number: int, seed: int
) -> pd.DataFrame:
    """Labels to look up, with an empty column ``answer``: see :func:`~equipoise.audit`.

    Those at random are drawn first and whatever the judgement, so that what they tell of all labels
    is without bias; then come the likeliest of the others to be wrong. Labels that are trusted or
    were looked up before are not asked for.
    """
    rng = np.random.default_rng(seed)
    cells = pd.concat(
        [
            pd.DataFrame(
                {
                    "sample": each.samples,
                    "target": name,
                    "given": each.target.named(each.given),
                    "stratum": each.given if each.target.classes else 0.0,
                    "wrong": each.wrong,
                }
            )[~each.trusted & np.isnan(each.checked)]
            for name, each in judged.items()
        ],
        ignore_index=True,
    )
    number = min(number, len(cells))
    strata = [part.index.to_numpy() for _, part in cells.groupby(["target", "stratum"])]
    sizes = np.array([len(part) for part in strata])
    drawn = [
        rng.choice(part, count, replace=False)
        for part, count in zip(strata, _shares(sizes, number - number // 2), strict=True)
    ]
    random = np.concatenate(drawn)
    rest = cells.drop(index=random.tolist()).sort_values("wrong", ascending=False, kind="stable")
    likely = rest.index[: number - len(random)].to_numpy()
    chosen = rng.permutation(np.concatenate([likely, random]))
    found = cells.loc[chosen]
    samples = found["sample"].to_numpy()
    asked = pd.DataFrame(
        {
            "row": labelled.rows[samples],
            "target": found["target"].to_numpy(),
            "given": found["given"].to_numpy(),
            "chosen": np.where(np.isin(chosen, random), RANDOM, LIKELY),
            "answer": "",
        }
    )
    shown = labelled.shown.iloc[samples].reset_index(drop=True)
    names = [f"{name} (feature)" if name in COLUMNS else name for name in shown.columns]
    return pd.concat([asked, shown.set_axis(names, axis=1)], axis=1)


def estimates(labelled: Labelled, judged: Mapping[str, Judged], answers: Answers) -> Iterator[str]:
    """What the answers tell of each target that has any."""
    for place, (name, each) in enumerate(judged.items()):
        known = ~np.isnan(each.checked)
        random = answers.at_random[each.samples, place]
        likely = known & ~random
        parts = []
        if likely.any():
            right = int(each.wrong[likely].sum())
            low, high = stats.binomtest(right, int(likely.sum())).proportion_ci(CONFIDENCE)
            parts.append(
                f"of {likely.sum()} labels that were likely wrong {right} were [{low:.0%}, "
                f"{high:.0%}]"
            )
        if random.any():
            share, width = share_wrong(each, random)
            shown = format_share(share, share - width, share + width)
            parts.append(f"by those at random {shown} of all are wrong")
        if parts:
            yield f"{name}, looked up: {'; '.join(parts)}"


def share_wrong(judged: Judged, random: NDArray[np.bool_]) -> Interval:
    """The share of wrong labels by those looked up at random within classes, in its interval.

    Each class counts by its share of all labels; its variance is of the share with one wrong and
    one right label more, so that classes without a wrong one have some.
    """
    stratum = judged.given if judged.target.classes else np.zeros(len(judged.given))
    mean = variance = 0.0
    total = np.isin(stratum, np.unique(stratum[random])).sum()
    for each in np.unique(stratum[random]):
        own = judged.wrong[random & (stratum == each)]
        weight = float((stratum == each).sum() / total)
        share = (own.sum() + 1) / (len(own) + 2)
        mean += weight * float(own.mean())
        variance += weight**2 * float(share * (1 - share) / len(own))
    return Interval(mean, float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * variance**0.5)


def _shares(sizes: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """A number parted in proportion to sizes, at most these; one each as far as it goes."""
    found = np.zeros(len(sizes), np.int64)
    for _ in range(min(number, int(sizes.sum()))):
        owed = np.where(found < sizes, sizes / (found + 0.5), -1)
        found[int(np.where((found == 0) & (sizes > 0), np.inf, owed).argmax())] += 1
    return found
