"""From runs to the content of a table: variants, means, best values, missing runs and paired comparisons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from zslab.errors import InputError, examples
from zslab.results.names import MEASURES, RULES, MeasureKey, Rule
from zslab.results.result import Row, by_rule
from zslab.results.runs import Quote, Record, Run
from zslab.results.statistics import Comparison, Repeat, Summary, compare, summarize
from zslab.results.text import flag_text
from zslab.utils.flags import format_numbers
from zslab.utils.names import find_names

Data = tuple[str, str, str]  # data set, features, class descriptions
MOST_FLAGS = 3  # in the name of a variant
WORDS = {"manualSeed": "seed", "split": "split", "partition": "partition"}


@dataclass
class Variant:
    """Runs that differ in their repetition only.

    The name is that of the method, with the flags that tell it from other variants of the method. More than `MOST_FLAGS` of
    them are "settings 1", "settings 2" and so on, which `explanation` resolves.
    """

    data: Data
    name: str
    is_baseline: bool = False  #: computed by the runs of other variants
    rows: dict[Repeat, dict[Rule, Row]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)  #: none of a baseline
    quotes: list[Quote] = field(default_factory=list)  #: results of which only means are known; they fill what the runs lack
    explanation: str = ""  #: for the caption

    def values(self, rule: Rule, measure: MeasureKey) -> dict[Repeat, float]:
        """Return repetition -> value, for the repetitions that have it."""
        found = {repeat: rows[rule].value(measure) for repeat, rows in self.rows.items() if rule in rows}
        return {repeat: value for repeat, value in found.items() if value is not None}

    def summary(self, rule: Rule, measure: MeasureKey) -> Summary | None:
        """Return mean, standard deviation and number of the values; None without any."""
        if values := self.values(rule, measure):
            return summarize([values[repeat] for repeat in sorted(values)])
        return next((quote.means[rule][measure] for quote in self.quotes if measure in quote.means.get(rule, {})), None)


class Line(NamedTuple):
    """One line of a table: a variant under one rule, with a summary of each measure, and the measures that are best here."""

    variant: Variant
    rule: Rule
    cells: dict[MeasureKey, Summary | None]
    best: set[MeasureKey]


class Pair(NamedTuple):
    """Two variants on the same data under one rule, compared in each measure that one of them has."""

    data: Data
    rule: Rule
    results: dict[MeasureKey, Comparison | None]


def build_variants(records: Sequence[Record]) -> list[Variant]:
    """Group runs into variants, sorted by data and name; baselines come last."""
    groups: dict[tuple[Data, str], dict[str, list[Run]]] = defaultdict(dict)
    variants: dict[tuple[Data, str, bool], Variant] = {}
    for run in records:
        if isinstance(run, Run):
            groups[run.data, run.variant].setdefault(repr(sorted(run.settings.items())), []).append(run)
    for (data, method), alternatives in groups.items():
        for members, (words, explanation) in zip(alternatives.values(), _distinctions(list(alternatives.values()))):
            name = ", ".join([method, *words])
            variants[data, name, False] = variant = Variant(data, name, runs=members, explanation=explanation)
            for run in members:
                _add(variant, run, by_rule(run.rows).get("", {}))
    for run in records:
        if isinstance(run, Run):
            for name, rows in by_rule(run.rows).items():
                if name:
                    baseline = variants.setdefault((run.data, name, True), Variant(run.data, name, is_baseline=True))
                    baseline.rows.setdefault(run.repetition, rows)
        else:
            known = Variant(run.data, run.variant, run.is_baseline)
            variants.setdefault((run.data, run.variant, run.is_baseline), known).quotes.append(run)
    return sorted(variants.values(), key=lambda variant: (variant.data, variant.is_baseline, variant.name))


def _add(variant: Variant, run: Run, rows: Mapping[Rule, Row]) -> None:
    """Add the rows of a run to its variant; a validation run beforehand adds rules to a repetition that is there."""
    merged = variant.rows.setdefault(run.repetition, {})
    if any(rule in merged and _numbers(merged[rule]) != _numbers(row) for rule, row in rows.items()):
        where = " and ".join(str(other.path) for other in variant.runs if other.repeat == run.repeat)
        must, got = f"{variant.name} must have one run for each seed and split", describe_repeat(run.repetition)
        raise InputError(must, where=where, got=f"different results for {got}", fix="Leave one of the folders out.")
    merged.update(rows)


def _numbers(row: Row) -> list[float | None]:
    return [row.value(measure) for measure in MEASURES]


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


def build_lines(variants: Sequence[Variant], rules: Sequence[Rule] = tuple(RULES)) -> list[Line]:
    """Return the lines of a table of variants on the same data, the rules of a variant one below the other.

    The best mean of a measure under a rule is marked where at least two variants have one.
    """
    found = [(variant, rule, {m: variant.summary(rule, m) for m in MEASURES}) for variant in variants for rule in rules]
    means = defaultdict[tuple[Rule, MeasureKey], list[float]](list)
    for _, rule, cells in found:
        for measure, cell in cells.items():
            if cell is not None:
                means[rule, measure].append(cell.mean)
    best = {place: max(values) for place, values in means.items() if len(values) > 1}
    return [
        Line(variant, rule, cells, {m for m, cell in cells.items() if cell and cell.mean == best.get((rule, m))})
        for variant, rule, cells in found
        if any(cells.values())
    ]


def build_pairs(
    variants: Sequence[Variant], first: str, second: str, rules: Sequence[Rule], measures: Sequence[MeasureKey]
) -> list[Pair]:
    """Compare two variants on all data that both have."""
    variant_names(variants, (first, second), "--compare")
    by_key = {(variant.data, variant.name): variant for variant in variants}
    pairs = []
    for (data, name), own in by_key.items():
        other = by_key.get((data, second)) if name == first else None
        for rule in rules if other else ():
            assert other is not None
            values = {measure: (own.values(rule, measure), other.values(rule, measure)) for measure in measures}
            results = {measure: compare(*both) for measure, both in values.items() if any(both)}
            pairs += [Pair(data, rule, results)] if results else []
    if not pairs:
        got = f"no data set of both {first} and {second}"
        raise InputError("the two variants must share a data set", where="--compare", got=got, fix="Add the missing runs.")
    return pairs


def missing_runs(variants: Sequence[Variant]) -> list[str]:
    """Return a sentence for each variant that lacks repetitions which another variant on the same data has."""
    sentences = []
    for data in dict.fromkeys(variant.data for variant in variants):
        own = [variant for variant in variants if variant.data == data and variant.runs]
        everything = sorted({repeat for variant in own for repeat in variant.rows})
        for variant in own:
            lacking = [describe_repeat(repeat) for repeat in everything if repeat not in variant.rows]
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
            split = describe_repeat(tuple(item for item in run.repetition if item[0] != "manualSeed"))
            lists = f"the lists of samples of {split or 'the split'}"
            for key, part in (("content", "the features, labels or class descriptions"), ("split", lists)):
                if key in run.fingerprint:
                    same = groups.setdefault(part, {}).setdefault(run.fingerprint[key], [])
                    same.append(describe_repeat(run.repetition))
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
        if numbers := {run.repeat[flag] for run in runs if flag in run.repeat}:
            parts.append(f"{word}{'s' * (len(numbers) > 1)} {listed_numbers(sorted(numbers))}")
    parts += sorted({run.machine for run in runs})
    if seconds := sorted(run.seconds for run in runs if run.seconds):
        length, unit = (1, "seconds") if seconds[-1] < 120 else (60, "minutes")
        span = dict.fromkeys(f"{each / length:.0f}" for each in (seconds[0], seconds[-1]))
        parts.append(f"{' to '.join(span)} {unit} a run")
    parts += [variant.explanation for variant in variants]
    parts += [quote.note for variant in variants for quote in variant.quotes]
    return "; ".join(dict.fromkeys(filter(None, parts)))


def listed_numbers(numbers: Sequence[int]) -> str:
    """Return sorted numbers as people list them.

    >>> listed_numbers([1, 2, 3, 7, 9])
    '1 to 3, 7 and 9'
    """
    parts: list[str] = []
    for part in format_numbers(numbers).split(","):
        first, _, last = part.partition("-")
        parts += [f"{first} to {last}"] if last and int(last) > int(first) + 1 else filter(None, [first, last])
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def variant_names(variants: Sequence[Variant], names: Iterable[str], where: str) -> list[str]:
    """Return the names of variants, each once, as the tables have them; raises as `find_names`."""
    known = list(dict.fromkeys(variant.name for variant in variants))
    found = find_names(list(dict.fromkeys(names)), known, where, "variant", "Copy the name from the table.")
    return [known[index] for index in found]


def rename_variants(records: Sequence[Record], names: Mapping[str, str]) -> list[Record]:
    """Return the runs with other names for some of their variants."""
    variants = build_variants(records)
    renamed = dict(zip(variant_names(variants, names, "--rename"), names.values()))
    members = [(record, v.name) for v in variants if v.name in renamed for record in (*v.runs, *v.quotes)]
    new_names = {id(record): renamed[name] for record, name in members}
    return [replace(record, variant=new_names.get(id(record), record.variant)) for record in records]


def describe_repeat(repeat: Repeat) -> str:
    """Return a repetition as text, for example "seed 1, split 3"."""
    return ", ".join(f"{WORDS[flag]} {number}" for flag, number in repeat)
