"""From runs to the content of a table: variants, means, best values, missing cells and paired comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from zslab.errors import InputError, examples
from zslab.results.config import flag_text
from zslab.table.runs import MEASURES, RULES, Quote, Repeat, Run, Scores
from zslab.table.statistics import Comparison, Summary, compare, summarize
from zslab.utils.int_ranges import format_numbers

Data = tuple[str, str, str]  # data set, features, class descriptions
MOST_FLAGS = 3  # in the name of a variant
WORDS = {"manualSeed": "seed", "split": "split", "partition": "partition"}


@dataclass
class Variant:
    """Runs that differ in their repetition only.

    Attributes:
        data: data set, features, class descriptions.
        name: the method, with the flags that tell it from other variants of the same method. More than `MOST_FLAGS` of them
            are "settings 1", "settings 2" and so on, which `explanation` resolves.
        is_baseline: whether it is a baseline, computed by the runs of other variants.
        explanation: for the caption, empty where the name says it all.
        scores: repetition -> selection rule -> measure -> value in [0, 1].
        runs: the runs themselves; empty for a baseline.
        quotes: results of which only means are known; they fill what the runs lack.
    """

    data: Data
    name: str
    is_baseline: bool = False
    scores: dict[Repeat, Scores] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    explanation: str = ""

    def values(self, rule: str, measure: str) -> dict[Repeat, float]:
        """Return repetition -> value, for the repetitions that have it."""
        return {repeat: scores[rule][measure] for repeat, scores in self.scores.items() if measure in scores.get(rule, {})}

    def summary(self, rule: str, measure: str) -> Summary | None:
        """Return mean, standard deviation and number of the values; None without any."""
        if values := self.values(rule, measure):
            return summarize([values[repeat] for repeat in sorted(values)])
        known = [quote.means[rule][measure] for quote in self.quotes if measure in quote.means.get(rule, {})]
        return Summary(float(known[0]["mean"] or 0), known[0]["sd"], int(known[0]["n"] or 0)) if known else None


@dataclass(frozen=True)
class Line:
    """One line of a table: a variant under one selection rule, with a summary and "is best" for each measure."""

    variant: Variant
    rule: str
    cells: dict[str, Summary | None]
    best: frozenset[str]


@dataclass(frozen=True)
class Pair:
    """Two variants on the same data, compared in one measure under one selection rule."""

    data: Data
    first: str
    second: str
    rule: str
    measure: str
    result: Comparison | None


def build_variants(records: Sequence[Run | Quote]) -> list[Variant]:
    """Group runs into variants, sorted by data and name; baselines come last.

    Raises:
        InputError: two runs of one variant have the same repetition, so that one would be counted twice.
    """
    runs = [record for record in records if isinstance(record, Run)]
    groups: dict[tuple[Data, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.data, run.method, repr(sorted(run.settings.items()))].append(run)
    named: dict[tuple[Data, str], list[list[Run]]] = defaultdict(list)
    for (data, method, _), members in groups.items():
        named[data, method].append(members)
    variants = []
    for (data, method), alternatives in named.items():
        for members, (words, explanation) in zip(alternatives, _distinctions(alternatives), strict=True):
            variant = Variant(data, ", ".join([method, *words]), runs=members, explanation=explanation)
            for run in members:
                merged = variant.scores.setdefault(run.repeat, {})
                if any(rule in merged and merged[rule] != scores for rule, scores in run.scores.items()):
                    raise InputError(
                        f"two runs of {variant.name} have the same repetition and different results",
                        where=" and ".join(str(other.path) for other in members if other.repeat == run.repeat),
                        found=describe_repeat(run.repeat),
                        expected="one run for each seed and split",
                        fix="Leave one of the folders out.",
                    )
                merged.update(run.scores)
            variants.append(variant)
    variants += _baselines(runs)
    for quote in (record for record in records if isinstance(record, Quote)):
        same = [v for v in variants if (v.data, v.name, v.is_baseline) == (quote.data, quote.method, quote.is_baseline)]
        if not same:
            variants += (same := [Variant(quote.data, quote.method, quote.is_baseline)])
        same[0].quotes.append(quote)
    return sorted(variants, key=lambda variant: (variant.data, variant.is_baseline, variant.name))


def build_lines(variants: Sequence[Variant], rules: Sequence[str] = RULES) -> list[Line]:
    """Return the lines of a table of variants on the same data, selection rules of a variant one below the other.

    The best mean of a measure under a rule is marked where at least two variants have one.
    """
    best: dict[tuple[str, str], float] = {}
    for rule in rules:
        for measure in MEASURES:
            means = [summary.mean for variant in variants if (summary := variant.summary(rule, measure))]
            if len(means) > 1:
                best[rule, measure] = max(means)
    lines = []
    for variant in variants:
        for rule in rules:
            cells = {measure: variant.summary(rule, measure) for measure in MEASURES}
            if any(cells.values()):
                marked = (measure for measure, cell in cells.items() if cell and cell.mean == best.get((rule, measure)))
                lines.append(Line(variant, rule, cells, frozenset(marked)))
    return lines


def missing_cells(variants: Sequence[Variant]) -> list[str]:
    """Return a sentence for each variant that lacks repetitions which another variant on the same data has."""
    sentences = []
    for data in dict.fromkeys(variant.data for variant in variants):
        own = [variant for variant in variants if variant.data == data and variant.runs]
        everything = sorted({repeat for variant in own for repeat in variant.scores})
        for variant in own:
            lacking = [describe_repeat(repeat) for repeat in everything if repeat not in variant.scores]
            if lacking:
                sentences.append(f"{' '.join(data)}: {variant.name} lacks {examples(lacking)}.")
    return sentences


def changed_data(variants: Sequence[Variant]) -> list[str]:
    """Return a sentence for each variant whose runs were not trained on the same data, by their fingerprints.

    All runs share features, labels and class descriptions; only runs of the same class split or partition share the lists of
    samples.
    """
    sentences = []
    for variant in variants:
        groups: dict[str, dict[str, list[str]]] = {}  # what should be the same -> digest -> runs
        for run in variant.runs:
            split = describe_repeat(tuple(item for item in run.repeat if item[0] != "manualSeed"))
            lists = f"the lists of samples of {split or 'the split'}"
            for key, part in (("content", "the features, labels or class descriptions"), ("split", lists)):
                if key in run.fingerprint:
                    groups.setdefault(part, {}).setdefault(run.fingerprint[key], []).append(describe_repeat(run.repeat))
        sentences += [
            f"The runs of {variant.name} were trained on different data: {part} changed in between ("
            + "; ".join(f"{digest}: {', '.join(names)}" for digest, names in digests.items())
            + "). Their mean has no meaning. Train those of the wrong data again with --overwrite."
            for part, digests in groups.items()
            if len(digests) > 1
        ]
    return sentences


def conditions(variants: Sequence[Variant]) -> str:
    """Return the caption of variants on the same data: sizes, repetitions, hardware, time of a run, and notes of quotes."""
    runs = [run for variant in variants for run in variant.runs]
    parts = [run.facts for run in runs]
    for flag, word in WORDS.items():
        if numbers := {dict(run.repeat)[flag] for run in runs if flag in dict(run.repeat)}:
            parts.append(f"{word}{'s' * (len(numbers) > 1)} {format_numbers(sorted(numbers))}")
    parts += sorted({run.machine for run in runs})
    if seconds := sorted(run.seconds for run in runs if run.seconds):
        length, unit = (1, "seconds") if seconds[-1] < 120 else (60, "minutes")
        span = dict.fromkeys(f"{each / length:.0f}" for each in (seconds[0], seconds[-1]))
        parts.append(f"{' to '.join(span)} {unit} a run")
    parts += [variant.explanation for variant in variants]
    parts += [quote.note for variant in variants for quote in variant.quotes]
    return "; ".join(dict.fromkeys(filter(None, parts)))


def build_pairs(
    variants: Sequence[Variant], first: str, second: str, rules: Sequence[str], measures: Sequence[str]
) -> list[Pair]:
    """Compare two variants on all data that both have.

    Raises:
        InputError: a variant does not exist, or the two share no data.
    """
    named_variants(variants, (first, second), "--compare")
    by_key = {(variant.data, variant.name): variant for variant in variants}
    pairs = [
        Pair(data, first, second, rule, measure, compare(a.values(rule, measure), b.values(rule, measure)))
        for data in dict.fromkeys(variant.data for variant in variants)
        if (a := by_key.get((data, first))) and (b := by_key.get((data, second)))
        for rule in rules
        for measure in measures
        if a.values(rule, measure) or b.values(rule, measure)
    ]
    if not pairs:
        raise InputError(
            "the two variants share no data set",
            where="--compare",
            found=f"{first} and {second}",
            expected="runs of both on the same data",
            fix="Add the missing runs.",
        )
    return pairs


def named_variants(variants: Sequence[Variant], names: Sequence[str], where: str) -> list[Variant]:
    """Return the variants that have one of the names, on whatever data.

    Raises:
        InputError: no variant has one of the names.
    """
    check_names(names, [variant.name for variant in variants], "variant", where)
    return [variant for variant in variants if variant.name in names]


def check_names(names: Sequence[str], known: Sequence[str], kind: str, where: str) -> None:
    """Refuse names that no variant, or whatever kind of thing, has.

    Raises:
        InputError: a name is not among the known ones.
    """
    for name in names:
        if name not in known:
            raise InputError(
                f"no {kind} has this name",
                where=where,
                found=name,
                expected=f"one of: {'; '.join(dict.fromkeys(known))}",
                fix="Copy the name from the table.",
            )


def only_variants(records: Sequence[Run | Quote], names: Sequence[str]) -> list[Run | Quote]:
    """Return what is known of some variants, baselines among them.

    Raises:
        InputError: no variant has one of the names.
    """
    chosen = named_variants(build_variants(records), names, "--variants")
    own = {id(record) for variant in chosen for record in (*variant.runs, *variant.quotes)}
    kept: list[Run | Quote] = []
    for record in records:
        if isinstance(record, Run):
            baselines = {name: scores for name, scores in record.baselines.items() if name in names}
            if id(record) in own or baselines:
                kept.append(replace(record, scores=record.scores if id(record) in own else {}, baselines=baselines))
        elif id(record) in own:
            kept.append(record)
    return kept


def rename_variants(records: Sequence[Run | Quote], names: Mapping[str, str]) -> list[Run | Quote]:
    """Return the runs with other names for some of their variants.

    Raises:
        InputError: no variant has one of the old names.
    """
    new_names = {
        id(record): names[variant.name]
        for variant in named_variants(build_variants(records), list(names), "--rename")
        for record in (*variant.runs, *variant.quotes)
    }
    return [replace(record, method=new_names.get(id(record), record.method)) for record in records]


def describe_repeat(repeat: Repeat) -> str:
    """Return a repetition as text, for example "seed 1, split 3"."""
    return ", ".join(f"{WORDS[flag]} {number}" for flag, number in repeat)


def _distinctions(alternatives: Sequence[Sequence[Run]]) -> list[tuple[list[str], str]]:
    """For groups of runs of the same method, the words that tell them apart, and for the caption what the words stand for."""
    settings = [members[0].settings for members in alternatives]
    every = dict.fromkeys(flag for values in settings for flag in values)
    flags = [flag for flag in every if len({repr(values.get(flag)) for values in settings}) > 1]
    if len(flags) <= MOST_FLAGS:
        return [([f"{flag} {values.get(flag)}" for flag in flags], "") for values in settings]
    order = sorted(repr(sorted(values.items())) for values in settings)
    distinctions = []
    for values in settings:
        name = f"settings {order.index(repr(sorted(values.items()))) + 1}"
        described = ", ".join(f"{flag} {flag_text(values.get(flag))}" for flag in flags)
        distinctions.append(([name], f"{name}: {described}"))
    return distinctions


def _baselines(runs: Sequence[Run]) -> list[Variant]:
    variants: dict[tuple[Data, str], Variant] = {}
    for run in runs:
        for name, scores in run.baselines.items():
            variant = variants.setdefault((run.data, name), Variant(run.data, name, is_baseline=True))
            variant.scores.setdefault(run.repeat, scores)
    return list(variants.values())
