"""How well are the holes of small mixed-type tables filled, beside the tools of scikit-learn?

    python experiments/tables.py --preset quick --out runs/tables --page docs/results

Four tables that scikit-learn brings, with single cells missing at random and with whole groups of columns missing.
Models of the library stand beside nearest neighbours, iterative imputation and, where one column is asked for, gradient
boosting. Each method learns once from training rows with holes, and then fills every kind of hole of held-out rows.
What an earlier call with the same folder has finished is read, not run again.
"""

from __future__ import annotations

import functools
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import sklearn
import torch
import tyro
from markdown_tables import markdown, mean_and_spread
from matplotlib.figure import Figure
from rich.console import Console
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (IterativeImputer cannot be imported without)
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge, Ridge

import mmvae
from mmvae import Modality, models
from mmvae.seeds import derive_seed
from mmvae.storage import read_json, write_bytes, write_json, write_text

TITLE = "Tables with holes"
SETTING = ["table", "holes"]
NEIGHBOURS, BOOSTING = "nearest neighbours", "gradient boosting"
ITERATIVE, FIRM = "iterative imputation", "iterative imputation with a firm ridge"
MODELS = ("MVTCAE", "MoPoE", "WeightedMVAE")
LATENT_DIM, HIDDEN, BATCH_SIZE, LR, VALIDATION = 16, (128,), 64, 3e-3, 0.2
INTERVAL = 0.9
CELLS_MISSING, GROUPS_MISSING = 0.2, 1 / 3
"""Share of the cells of training rows that are missing, and of the rows that also lack a whole group."""

Name = Literal["wine", "breast cancer", "diabetes", "digits"]


@dataclass(frozen=True)
class Preset:
    """How much is trained and measured."""

    says: str
    rows: int
    rates: tuple[float, ...]
    steps: int
    tables: tuple[Name, ...]


PRESETS = {
    "smoke": Preset(
        says="Preset smoke: it shows that everything runs; its numbers mean nothing.",
        rows=60,
        rates=(0.3,),
        steps=2,
        tables=("wine", "diabetes"),
    ),
    "quick": Preset(
        says="Preset quick: at most 1,000 rows a table, 600 training steps a model.",
        rows=1000,
        rates=(0.1, 0.3, 0.5),
        steps=600,
        tables=("wine", "breast cancer", "diabetes", "digits"),
    ),
}


@dataclass(frozen=True)
class Arguments:
    """Fill holes of mixed-type tables with models of the library and with tools of scikit-learn."""

    preset: Literal["smoke", "quick"] = "quick"
    """Seconds, or minutes on one core for each seed."""
    models: tuple[Literal["MVTCAE", "MoPoE", "WeightedMVAE"], ...] = ("MVTCAE", "MoPoE")
    """Models of the library."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the division into training and test rows, the holes, and the models."""
    out: Path = Path("runs/tables")
    """Folder of what has been measured, from which a later call goes on."""
    page: Path | None = None
    """Folder of `tables.md`, `tables.png` and `tables.csv`; by default the same."""


@dataclass(frozen=True)
class Columns:
    """A table without holes.

    Attributes:
        frame: N rows; categories are of a categorical type, all other columns are numbers.
        groups: ``{name: columns}``; the last group is one column, which a user would ask for.
    """

    frame: pd.DataFrame
    groups: dict[str, list[str]]

    @property
    def asked(self) -> str:
        """The one column that boosting is trained for."""
        return next(iter(reversed(self.groups.values())))[0]


@dataclass(frozen=True)
class Score:
    """What one method reached on one kind of hole.

    Attributes:
        relative: Mean over columns of the error divided by that of the column's mean or most frequent category.
        numbers: The same of the numbers alone, as root mean square errors; ``None`` without any.
        categories: The same of the categories alone, as error rates.
        coverage: Share of the hidden numbers within intervals of 90 %; ``None`` of a method without intervals.
    """

    relative: float
    numbers: float | None
    categories: float | None
    coverage: float | None


Filled = tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]
"""A frame without holes, and the lower and upper ends of intervals."""
Fill = Callable[[pd.DataFrame], Filled]


# Tables.


def wine() -> Columns:
    """178 wines: measures in three groups, and the cultivar, one of three."""
    frame, target = load_wine(return_X_y=True, as_frame=True)
    groups = {"acids": list(frame.columns[:5]), "phenols": list(frame.columns[5:9]), "colour": list(frame.columns[9:])}
    return Columns(frame.assign(cultivar=pd.Categorical(target)), {**groups, "cultivar": ["cultivar"]})


def breast_cancer() -> Columns:
    """569 tumours: means, standard errors and worst values of ten measures, and the diagnosis."""
    frame, target = load_breast_cancer(return_X_y=True, as_frame=True)
    groups = {
        name: list(frame.columns[start : start + 10]) for name, start in (("mean", 0), ("error", 10), ("worst", 20))
    }
    return Columns(frame.assign(diagnosis=pd.Categorical(target)), {**groups, "diagnosis": ["diagnosis"]})


def diabetes() -> Columns:
    """442 patients: the person, with sex as a category, six measures of the serum, and the progression a year later."""
    frame, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    frame = frame.assign(sex=pd.Categorical(frame["sex"].astype(int)), progression=target.astype(float))
    groups = {"person": ["age", "sex", "bmi", "bp"], "serum": ["s1", "s2", "s3", "s4", "s5", "s6"]}
    return Columns(frame, {**groups, "progression": ["progression"]})


def digits() -> Columns:
    """1,797 images of 8 by 8 pixels in three views, and the digit, one of ten."""
    images, target = load_digits().images, load_digits().target
    spectrum = np.abs(np.fft.rfft2(images))[:, :4, :4].reshape(-1, 16)
    views = {
        "blocks": images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16),
        "profiles": np.concatenate([images.mean(1)[:, 1:7], images.mean(2)], 1),
        "Fourier": spectrum[:, 1:],  # the first is the sum of all pixels
    }
    columns = {
        f"{view} {place}": values[:, place] for view, values in views.items() for place in range(values.shape[1])
    }
    groups = {view: [f"{view} {place}" for place in range(values.shape[1])] for view, values in views.items()}
    return Columns(pd.DataFrame(columns).assign(digit=pd.Categorical(target)), {**groups, "digit": ["digit"]})


TABLES: dict[Name, Callable[[], Columns]] = {
    "wine": wine,
    "breast cancer": breast_cancer,
    "diabetes": diabetes,
    "digits": digits,
}


# Holes.


def without_cells(frame: pd.DataFrame, rate: float, generator: np.random.Generator) -> pd.DataFrame:
    """Hide cells at random; every row keeps at least one."""
    order = generator.random(frame.shape)
    return frame.mask((order < rate) & (order < order.max(1, keepdims=True)))


def without_group(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Hide some columns of every row."""
    return frame.mask(pd.DataFrame(frame.columns.isin(columns)[None].repeat(len(frame), 0), frame.index, frame.columns))


def for_training(table: Columns, frame: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Training rows with holes of both kinds."""
    hidden = generator.random(frame.shape) < CELLS_MISSING
    lacking = np.where(
        generator.random(len(frame)) < GROUPS_MISSING, generator.integers(len(table.groups), size=len(frame)), -1
    )
    for place, columns in enumerate(table.groups.values()):
        hidden |= (lacking == place)[:, None] & frame.columns.isin(columns)[None]
    bare = hidden.all(axis=1)
    hidden[bare] = False
    return frame.mask(hidden)


def kinds_of_holes(
    table: Columns, frame: pd.DataFrame, rates: Sequence[float], generator: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """Held-out rows with each kind of hole."""
    found = {f"{rate:.0%} of cells": without_cells(frame, rate, generator) for rate in rates}
    return found | {f"without {name}": without_group(frame, columns) for name, columns in table.groups.items()}


# Methods.


class Coded:
    """A frame as standardised numbers and indicators of categories, which the tools of scikit-learn take, and back.

    The first category has no indicator: indicators that sum to one would let iterative imputation infer each from the
    others, from wherever it began.

    Args:
        frame: Training rows.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._categories = {
            name: list(frame[name].cat.categories)
            for name in frame
            if isinstance(frame[name].dtype, pd.CategoricalDtype)
        }
        numbers = frame.drop(columns=list(self._categories))
        self._mean, self._spread = numbers.mean(), numbers.std().replace(0.0, 1.0)

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Numbers ``[N, P]``, NaN where a value is missing."""
        parts = [((frame[self._mean.index] - self._mean) / self._spread).to_numpy(dtype=float)]
        for name, categories in self._categories.items():
            there = frame[name].notna().to_numpy()[:, None]
            indicators = np.stack([frame[name] == category for category in categories[1:]], 1).astype(float)
            parts.append(np.where(there, indicators, np.nan))
        return np.concatenate(parts, 1)

    def decode(self, numbers: np.ndarray, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its holes filled from numbers ``[N, P]``."""
        place = len(self._mean)
        values = pd.DataFrame(numbers[:, :place], frame.index, self._mean.index) * self._spread + self._mean
        filled = frame.copy()
        for name in self._mean.index:
            filled[name] = frame[name].fillna(values[name])
        for name, categories in self._categories.items():
            others = numbers[:, place : place + len(categories) - 1]
            best = np.column_stack([1 - others.sum(1), others]).argmax(1)
            likely = pd.Series(pd.Categorical.from_codes(best, categories), frame.index)
            filled[name] = frame[name].fillna(likely)
            place += len(categories) - 1
        return filled


def peer(train: pd.DataFrame, imputer: KNNImputer | IterativeImputer) -> Fill:
    """An imputer of scikit-learn, on standardised columns."""
    coded = Coded(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds, its default, are what users get
        imputer.fit(coded.encode(train))
    return lambda frame: (coded.decode(imputer.transform(coded.encode(frame)), frame), None, None)


def iterative(train: pd.DataFrame, seed: int, regression: BayesianRidge | Ridge) -> IterativeImputer:
    """Iterative imputation within the range of the training rows; without this limit it did worse on small tables."""
    coded = Coded(train).encode(train)
    return IterativeImputer(
        regression, random_state=seed, min_value=np.nanmin(coded, axis=0), max_value=np.nanmax(coded, axis=0)
    )


def boosting(train: pd.DataFrame, asked: str, seed: int) -> Fill:
    """Gradient boosting for one column, which reads holes of the others as they are."""
    known = train[train[asked].notna()]
    is_category = isinstance(train[asked].dtype, pd.CategoricalDtype)
    kind = HistGradientBoostingClassifier if is_category else HistGradientBoostingRegressor
    fitted = kind(random_state=seed).fit(known.drop(columns=asked), known[asked])

    def fill(frame: pd.DataFrame) -> Filled:
        predicted = pd.Series(fitted.predict(frame.drop(columns=asked)), frame.index).astype(frame[asked].dtype)
        return frame.assign(**{asked: frame[asked].fillna(predicted)}), None, None

    return fill


def small(modality: Modality) -> Modality:
    """The same modality with one hidden layer each; the default networks suit thousands of rows."""
    likelihood = modality.likelihood
    assert isinstance(likelihood, mmvae.likelihoods.Columns)
    return Modality(
        modality.name,
        modality.shape,
        likelihood,
        functools.partial(mmvae.nn.ColumnsEncoder, likelihood.categories, has_mask=True, hidden=HIDDEN),
        functools.partial(mmvae.nn.MLPDecoder, shape=likelihood.parameter_shape(modality.shape), hidden=HIDDEN),
        missing="cells",
    )


def model(kind: str, train: pd.DataFrame, whole: Columns, steps: int, seed: int) -> Fill:
    """A model of the library: a modality for each group, with the likelihoods of the columns' types."""
    table = mmvae.data.from_frame(train, whole.groups)
    torch.manual_seed(seed)
    vae = getattr(models, kind)([small(each) for each in table.modalities], latent_dim=LATENT_DIM)
    epochs = max(1, round(steps / -(-len(train) // BATCH_SIZE)))
    with warnings.catch_warnings():  # some measures are rounded, and fit asks whether they are counts
        warnings.filterwarnings("ignore", message="fit has looked at the data", category=UserWarning)
        mmvae.fit(
            vae,
            table.data,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            lr=LR,
            validation=VALIDATION,
            select="imputation",
            seed=seed,
            device="cpu",
            progress=False,
        )

    def fill(frame: pd.DataFrame) -> Filled:
        rows = table.like(frame)
        imputed = mmvae.impute(vae, rows.data, interval=INTERVAL, seed=seed)
        assert imputed.lower is not None
        assert imputed.upper is not None
        return rows.to_frame(imputed), rows.to_frame(imputed.lower), rows.to_frame(imputed.upper)

    return fill


# Measuring.


def score(true: pd.DataFrame, holes: pd.DataFrame, filled: Filled, train: pd.DataFrame) -> Score:
    """Errors over all columns with holes, each beside its mean or most frequent category in the training rows."""
    numbers, categories = [], []
    inside, counted = 0, 0
    made, lower, upper = filled
    for name in true:
        lost = holes[name].isna().to_numpy()
        right, guess = true[name][lost], made[name][lost]
        if isinstance(true[name].dtype, pd.CategoricalDtype):
            floor = float((right != train[name].mode()[0]).mean()) if lost.any() else 0.0
            if floor:  # few hidden cells may all be of the most frequent category, and then there is nothing to beat
                categories.append(float((right != guess).mean()) / floor)
            continue
        if not lost.any():
            continue
        floor = float(np.sqrt(((right - train[name].mean()) ** 2).mean()))
        numbers.append(float(np.sqrt(((right - guess) ** 2).mean())) / floor)
        if lower is not None and upper is not None:
            inside += int(((lower[name][lost] <= right) & (right <= upper[name][lost])).sum())
            counted += int(lost.sum())
    return Score(
        relative=float(np.mean([*numbers, *categories])),
        numbers=float(np.mean(numbers)) if numbers else None,
        categories=float(np.mean(categories)) if categories else None,
        coverage=inside / counted if counted else None,
    )


def measured(name: Name, seed: int, arguments: Arguments) -> list[dict[str, object]]:
    """Rows of all methods on one table and seed, kept in a file of the folder."""
    preset = PRESETS[arguments.preset]
    table = TABLES[name]()
    generator = np.random.default_rng(derive_seed(seed, name))
    chosen = generator.permutation(len(table.frame))[: preset.rows]
    frame = table.frame.iloc[chosen].reset_index(drop=True)
    cut = 2 * len(frame) // 3
    whole, test = frame[:cut], frame[cut:].reset_index(drop=True)
    train = for_training(table, whole, generator)
    holes = kinds_of_holes(table, test, preset.rates, generator)
    methods: dict[str, Callable[[], Fill]] = {
        NEIGHBOURS: lambda: peer(train, KNNImputer()),
        ITERATIVE: lambda: peer(train, iterative(train, seed, BayesianRidge())),
        FIRM: lambda: peer(train, iterative(train, seed, Ridge(10.0))),
        BOOSTING: lambda: boosting(train, table.asked, seed),
        **{kind: lambda kind=kind: model(kind, train, table, preset.steps, seed) for kind in arguments.models},
    }
    rows: list[dict[str, object]] = []
    for method, fit in methods.items():
        path = arguments.out / arguments.preset / name.replace(" ", "-") / f"{method.replace(' ', '-')}-{seed}.json"
        if not path.exists():
            started = time.perf_counter()
            fill = fit()
            asked = [f"without {list(table.groups)[-1]}"] if method == BOOSTING else list(holes)
            scores = {kind: asdict(score(test, holes[kind], fill(holes[kind]), train)) for kind in asked}
            write_json(path, {"seconds": time.perf_counter() - started, "scores": scores})
        kept = read_json(path)
        for kind, values in kept["scores"].items():
            rows.append(
                {"table": name, "holes": kind, "method": method, "seed": seed, **values, "seconds": kept["seconds"]}
            )
    return rows


# The page.


def setting(holes: str) -> str:
    """The kind of hole, with all groups taken together."""
    return holes if holes.endswith("of cells") else "a group"


def asked_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Tables, and the holes of the one column that boosting was trained for."""
    return rows.loc[rows["method"] == BOOSTING, SETTING].drop_duplicates()


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each table, kind of hole, method and seed, groups of several columns averaged."""
    several = rows.merge(asked_of(rows), how="left", indicator=True).query("_merge == 'left_only'")
    means = several.assign(holes=several["holes"].map(setting)).groupby([*SETTING, "method", "seed"], sort=False)
    return means[["relative", "numbers", "categories", "coverage", "seconds"]].mean().reset_index()


def winners(found: pd.DataFrame) -> pd.DataFrame:
    """The best method of each table and kind of hole, by its mean over seeds, and the best of the other side."""
    means = found.groupby([*SETTING, "method"], sort=False)["relative"].mean().reset_index()
    means["side"] = np.where(means["method"].isin(MODELS), "model", "tool")
    best = means.loc[means.groupby([*SETTING, "side"], sort=False)["relative"].idxmin()]
    order = found[SETTING].drop_duplicates()
    return best.pivot(index=SETTING, columns="side", values=["method", "relative"]).loc[list(map(tuple, order.values))]


def by_holes(ahead: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The settings with a whole group of columns missing, and those with single cells missing."""
    of_groups = ahead.index.get_level_values("holes") == "a group"
    return ahead[of_groups], ahead[~of_groups]


def verdict(won: pd.DataFrame) -> str:
    """The sentence with which the page begins."""
    ahead = won["relative"]["model"] < won["relative"]["tool"]
    best = won["method"]["model"].where(ahead, won["method"]["tool"])
    name, count = best.value_counts().index[0], best.value_counts().iloc[0]
    groups, cells = by_holes(ahead)
    return (
        f"On these small tables {name} has the lowest error in {count} of {len(won)} settings; models of the library "
        f"have it in {ahead.sum()}: with whole groups of columns missing on {groups.sum()} of {len(groups)} tables, "
        f"with single cells missing in {cells.sum()} of {len(cells)} settings."
    )


def untuned(found: pd.DataFrame) -> str:
    """The same beside the tools as they come."""
    won = winners(found[found["method"] != FIRM])
    ahead = won["relative"]["model"] < won["relative"]["tool"]
    groups, cells = by_holes(ahead)
    return (
        f"Beside nearest neighbours and iterative imputation with the regressions that they come with, models of the "
        f"library have the lowest error on {groups.sum()} of {len(groups)} tables with groups missing, and in "
        f"{cells.sum()} of {len(cells)} settings with cells missing."
    )


def simpler(won: pd.DataFrame) -> str:
    """The settings in which a tool of scikit-learn has a lower error than every model."""
    behind = won[won["relative"]["tool"] <= won["relative"]["model"]]
    lines = {}
    for name, settings in behind.groupby(behind["method"]["tool"], sort=False):
        tables = settings.reset_index().groupby("table", sort=False)["holes"]
        lines[name] = "; ".join(f"{table} ({', '.join(kinds)})" for table, kinds in tables)
    text = "".join(f"- {name}: {places}\n" for name, places in lines.items())
    return "\n## Where the simpler tools win\n\n" + (text or "Nowhere here.\n")


def chart(found: pd.DataFrame) -> Figure:
    """Relative error by table, kind of hole and method."""
    tables, kinds, methods = (list(found[column].unique()) for column in ("table", "holes", "method"))
    figure = Figure(figsize=(2.6 * len(tables), 3.2), layout="constrained")
    means = found.groupby(["table", "holes", "method"])["relative"].mean()
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, table in zip(axes, tables, strict=True):
        for place, method in enumerate(methods):
            marker = "o" if method in MODELS else "s"
            values = [means[table, kind, method] for kind in kinds]
            beside = np.arange(len(kinds)) + 0.13 * (place - (len(methods) - 1) / 2)
            axis.plot(beside, values, marker=marker, linestyle="", markersize=6, label=method, color=f"C{place}")
        axis.axhline(1.0, color="0.5", linewidth=0.8, linestyle="--")
        axis.set_xticks(
            range(len(kinds)), [kind.replace(" of cells", "\ncells").replace("a group", "a\ngroup") for kind in kinds]
        )
        axis.set_xlim(-0.5, len(kinds) - 0.5)
        axis.set_title(table, fontsize=10)
    axes[0].set_ylabel("error / error of the mean")
    axes[0].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def page(rows: pd.DataFrame, arguments: Arguments, command: str) -> str:
    """The results as Markdown."""
    found = summary(rows)
    won = winners(found)
    methods = list(found["method"].unique())
    ours = [method for method in methods if method in MODELS]
    keyed = found.set_index(["table", "holes", "method"]).sort_index()
    lines = {}
    for table, kind in won.index:
        errors = [mean_and_spread(list(keyed.loc[[(table, kind, method)], "relative"]), 2) for method in methods]
        coverage = [f"{keyed.loc[[(table, kind, method)], 'coverage'].mean():.0%}" for method in ours]
        lines[f"{table}, {kind}"] = [*errors, *coverage]
    seeds = len(arguments.seeds)
    text = f"# {TITLE}\n\n{verdict(won)}\n\n![Relative error by table, kind of hole and method](tables.png)\n\n"
    text += f"{untuned(found)}\n\n"
    text += (
        "An error of 1 is that of the column's mean, or of its most frequent category. Each number is the mean over "
        "columns of relative errors: root mean square errors of numbers, error rates of categories. Where few "
        "cells of a column are hidden and lie near its mean, the ratio is large for every method: mind the spread of "
        "the smallest table with the fewest holes. The table has "
        f"means ± standard deviations over {seeds} seed{'s' * (seeds > 1)}. The last columns say how many hidden "
        f"numbers lie in the {INTERVAL:.0%} intervals of {' and of '.join(ours)}; the tools of scikit-learn give no "
        "intervals here. A group is missing as a whole: the mean over the groups of several columns. Errors by group, "
        "of numbers and of categories are in [tables.csv](tables.csv).\n"
    )
    text += "\n## Figures\n"
    text += markdown(
        "Error relative to the mean", "table, what is missing", [*methods, *(f"{each} in 90 %" for each in ours)], lines
    )
    return text + one_column(rows) + seconds(rows) + simpler(won) + described(arguments, command)


def one_column(rows: pd.DataFrame) -> str:
    """The last group of each table is one column, for which boosting joins in."""
    asked = rows.merge(asked_of(rows))
    methods = list(rows["method"].unique())
    lines = {
        f"{table}, {kind.removeprefix('without ')}": [
            mean_and_spread(list(each[each["method"] == method]["relative"]), 2) for method in methods
        ]
        for (table, kind), each in asked.groupby(SETTING, sort=False)
    }
    return markdown("One column asked for, all others given", "table, column", methods, lines)


def seconds(rows: pd.DataFrame) -> str:
    """Time to fit once and to fill all kinds of holes."""
    methods = list(rows["method"].unique())
    each = rows.drop_duplicates(["table", "method", "seed"]).groupby(["table", "method"], sort=False)["seconds"].mean()
    lines = {table: [f"{each[table, method]:.1f}" for method in methods] for table in rows["table"].unique()}
    return markdown("Seconds to fit once and fill all kinds of holes", "table", methods, lines)


def described(arguments: Arguments, command: str) -> str:
    """What was done, on what."""
    preset = PRESETS[arguments.preset]
    return (
        f"\n## What was done\n\n- command: `{command}`\n- {preset.says}\n"
        f"- seeds {', '.join(map(str, arguments.seeds))}: each draws other holes, and another division into two thirds "
        "of training rows and one third of test rows\n"
        f"- training rows lack {CELLS_MISSING:.0%} of their cells, and {GROUPS_MISSING:.0%} of them also a whole "
        "group; every method is fitted once and fills all kinds of holes of the test rows\n"
        "- groups of columns are modalities of the models: `mmvae.data.from_frame`, `mmvae.fit` and "
        f"`mmvae.impute`, with a hidden layer of {HIDDEN[0]}, a latent of {LATENT_DIM}, batches of {BATCH_SIZE} and a "
        f"learning rate of {LR}; all else is the default\n"
        f'- {VALIDATION:.0%} of the training rows only choose the epoch, by `select="imputation"`; without it '
        "MVTCAE overfit the smallest table, and about 60% of the hidden numbers lay in its intervals\n"
        "- the settings of the models, one for all tables, were chosen on the same tables with another seed, after a "
        "first setting without such rows had been seen on seed 0\n"
        "- scikit-learn, on standardised columns and indicators of all categories but the first: `KNNImputer()`, and "
        "`IterativeImputer()` limited to the range of the training rows, with its default regression, which is "
        "unstable on small tables with such holes, and with `Ridge(10.0)`, chosen on the wine table, one of its "
        "seeds here among them; "
        "`HistGradientBoostingClassifier()` or `HistGradientBoostingRegressor()` on the training rows that have the "
        "column. All other settings are the default ones\n"
        f"- {platform.machine()}, {torch.get_num_threads()} thread on a machine with other work beside it, so times "
        f"are rough; Python {platform.python_version()}, torch {torch.__version__}, scikit-learn "
        f"{sklearn.__version__}\n"
    )


def main(arguments: Arguments) -> Path:
    """Measure what is not measured yet, and write the page."""
    console = Console()
    folder = arguments.page or arguments.out
    rows: list[dict[str, object]] = []
    for seed in arguments.seeds:
        for name in PRESETS[arguments.preset].tables:
            console.print(f"{name}, seed {seed}")
            rows += measured(name, seed, arguments)
    found = pd.DataFrame(rows)
    command = f"python experiments/tables.py --preset {arguments.preset} --seeds {' '.join(map(str, arguments.seeds))}"
    picture = BytesIO()
    chart(summary(found)).savefig(picture, format="png", dpi=100)
    write_bytes(folder / "tables.png", picture.getvalue())
    write_text(folder / "tables.csv", found.to_csv(index=False, float_format="%.4f"))
    path = folder / "tables.md"
    write_text(path, page(found, arguments, command))
    console.print(f"page: {path}")
    return path


if __name__ == "__main__":
    main(tyro.cli(Arguments))
