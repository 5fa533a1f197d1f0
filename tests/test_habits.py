"""What users of other packages expect: cards of the models, citations, a log, completion, ASE's names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import typing
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mlh
from mlh.basis.families import family_names
from mlh.commands.cli import app
from mlh.common import ase_plugin
from mlh.common.examples import shipped_examples
from mlh.dft.terms.dispersion import DispersionName
from mlh.dft.theory import FUNCTIONALS
from mlh.model.card import ModelError, find_model
from mlh.model.description import described_model, shipped_names
from mlh.report import citations
from mlh.report.citations import bibtex, cite, entries
from mlh.solver.methods import solver_names

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`mlh ...` in a process of its own."""
    line = [sys.executable, "-m", "mlh", *words]
    return subprocess.run(
        line, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def keys(*sources: object) -> set[str]:
    return {citation.key for citation in cite(*sources)}


def test_every_shipped_model_is_described() -> None:
    assert shipped_names() == ["sio2-vo"]
    for name in shipped_names():
        model = described_model(name)
        assert model.title and model.licence == "MIT" and model.structures and model.perturbations
        assert set(model.examples) <= set(shipped_examples())
        assert len({row.atoms for row in model.errors}) > 2


def test_the_errors_of_the_card_are_the_measured_ones() -> None:
    """Every row stands in docs/accuracy.md; a refined one stands below its row."""
    lines = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8").splitlines()
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    for row in described_model("sio2-vo").errors:
        numbers = [f"{row.h_mev:.3f}", f"{row.density_e_a3:.1e}".replace("e-0", "e-")]
        numbers += [f"{row.energy_mev_per_atom:.3f}", f"{row.force_mev_a:.1f}"]
        (k,) = [k for k, cells in enumerate(tables) if cells[3:8] == [str(row.refine), *numbers]]
        assert tables[k - row.refine][:2] == [row.structures, str(row.atoms)]


def test_the_card_says_labels_errors_by_size_and_licence() -> None:
    text = CliRunner().invoke(app, ["models", "show", "sio2-vo"], env={"COLUMNS": "160"}).stdout
    for words in ("PBE", "gth-pbe", "200", "Gamma", "MIT", "rattled", "H of 96 atoms", "215", "0.245"):
        assert words in text
    plain = json.loads(CliRunner().invoke(app, ["models", "show", "sio2-vo", "--json"]).stdout)
    assert plain["card"]["settings"]["xc"] == "PBE" and plain["errors"][0]["atoms"] == 96
    assert [m["name"] for m in json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)] == [
        "sio2-vo"
    ]
    assert "sio2-vo" in CliRunner().invoke(app, ["models"]).stdout


def test_a_model_of_ones_own_has_a_card(tmp_path: Path) -> None:
    """Without a description, with one, and with one that is damaged."""
    own = tmp_path / "quartz.npz"
    own.write_bytes(find_model("sio2-vo").read_bytes())
    html = described_model(own)._repr_html_()
    assert "not said" in html and "gth-pbe" in html
    words = own.with_suffix(".toml")
    words.write_text('title = "<Quartz>"\nlicence = "CC0"\n', encoding="utf-8")
    html = described_model(own)._repr_html_()
    assert "CC0" in html and "&lt;Quartz&gt;" in html
    for damaged in ("title = ", 'colour = "blue"\n', "[[errors]]\natoms = 3\n"):
        words.write_text(damaged, encoding="utf-8")
        with pytest.raises(ModelError, match=r"quartz\.toml"):
            described_model(own)


def test_entries_are_bibtex() -> None:
    """Braces in pairs, the fields that styles need, no DOI twice, every key used and every used key there."""
    used = {key for _, names in citations.PACKAGE for key in names}
    for table in (citations.FUNCTIONALS, citations.DISPERSION, citations.FAMILIES, citations.METHODS):
        used |= {key for names in table.values() for key in names}
    used |= {key for names in citations.OPTIMIZERS.values() for key in names}
    for use in (*citations.SUMMARIES.values(), citations.CORRECTIONS, citations.GLASS):
        used |= set(use[1]) if use else set()
    used |= {key for _, names in citations._of_network() for key in names} | {"Spglib", "OzakiKino2005"}
    assert used == set(entries())
    found = []
    for key, text in entries().items():
        assert text.count("{") == text.count("}") and text.isascii(), key
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", text, re.M))
        assert {"title", "author"} <= set(fields)
        if key != "mlh":
            assert re.fullmatch(r"10\.\d{4,}/\S+", fields["doi"]) and re.fullmatch(r"\d{4}", fields["year"])
            assert text.startswith(("@misc", "@inproceedings")) or {"journal", "volume", "pages"} <= set(
                fields
            )
            found.append(fields["doi"].lower())
    assert len(set(found)) == len(found)


def test_everything_that_can_be_chosen_has_its_entry() -> None:
    """A functional, a basis family, a dispersion or a solver that is added fails here until it is cited."""
    assert set(citations.FUNCTIONALS) == set(FUNCTIONALS)
    assert set(citations.FAMILIES) == set(family_names())
    assert set(citations.DISPERSION) == set(typing.get_args(DispersionName))
    assert set(citations.METHODS) == set(solver_names()) - {"dense"}


def test_what_a_theory_and_a_model_used() -> None:
    assert keys() == {"mlh", "ASE", "Libxc"}
    assert keys(mlh.Theory()) == {"mlh", "ASE", "Libxc", "PBE", "GTH", "HGH", "Krack", "Willand"}
    level = mlh.Theory(xc="PZ", kpts=(2, 2, 2))
    assert keys(level) - keys() == {"PZ", "CeperleyAlder", "GTH", "HGH", "Krack", "Willand", "Spglib"}
    assert {"D4", "PBE"} <= keys({"basis": "openmx DFT_DATA19", "dispersion": "D4", "xc": "PBE"})
    assert {"E3NN", "PyTorch", "PBE", "GTH"} <= keys("sio2-vo") == keys(described_model("sio2-vo").card)
    assert "% labels: functional PBE\n@article{PBE," in bibtex(cite("sio2-vo"))
    assert f"version = {{{mlh.__version__}}}" in bibtex(cite())


def test_what_a_run_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the engines that its summaries name."""
    dft = {"kind": "dft", "basis": "gth-pbe", "xc": "PBE", "kpts": [1, 1, 1]}
    folder = tmp_path / "charged"
    (folder / "host").mkdir(parents=True)
    relax = {"engine": dft, "optimizer": "fire", "status": "converged"}
    (folder / "host" / "relax.json").write_text(json.dumps(relax), encoding="utf-8")
    summary = {"run": {"engine": dft}, "charged": {"corrected": True}}
    (folder / "defects.json").write_text(json.dumps(summary), encoding="utf-8")
    assert {"FIRE", "EFNV", "PymatgenDefects", "PBE"} <= keys(folder)
    assert "EFNV" not in keys(folder / "host")
    gone = {"kind": "model", "model": "nosuch.npz", "method": "purification"}
    (tmp_path / "neb.json").write_text(json.dumps({"engine": gone}), encoding="utf-8")
    assert {"ClimbingNEB", "Niklasson", "E3NN"} <= keys(tmp_path)
    assert "nosuch.npz" in caplog.text
    (tmp_path / "glass.report.json").write_text('{"perfect_network": true}', encoding="utf-8")
    assert {"BondSwitching", "SiO2Switching"} <= keys(tmp_path / "glass.report.json")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json.*engine"):
        cite(tmp_path / "other.json")


def test_the_log_has_words_results_and_the_end(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    ended = run("--log", str(log), "models")
    failed = run("--log", str(log), "info", "nosuch")
    assert ended.returncode == 0 and failed.returncode == 2
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*  +\S", line) for line in lines)
    text = "\n".join(line[27:] for line in lines)
    assert ended.stdout.strip() in text and failed.stderr.strip() in text
    assert [line for line in text.splitlines() if line.startswith("ended")] == [
        "ended with status 0",
        "ended with status 2",
    ]
    assert run("--log", str(tmp_path / "no" / "run.log"), "models").returncode == 2


def test_the_log_has_what_the_console_says_once(tmp_path: Path) -> None:
    program = (
        "import sys, logging, typer; from mlh.common import runlog; from mlh.common.terminal import *\n"
        f"console = terminal(); runlog.start_log({str(tmp_path / 'x.log')!r}, ['mlh', 'x y'])\n"
        "say(console, 'to the terminal'); typer.echo('error', err=True); print('result')\n"
        "logging.getLogger('mlh.scf').info('small'); runlog.end_log('end'); print('after')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "result\nafter\n" and done.stderr == "to the terminal\nerror\n"
    text = [line[27:] for line in (tmp_path / "x.log").read_text(encoding="utf-8").splitlines()]
    assert text[1:] == ["$ mlh 'x y'", "to the terminal", "error", "result", "small", "end"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlh mo", ["modes", "models"]),
        ("mlh models ", ["show"]),
        ("mlh --threads 2 models show --js", ["--json"]),
        ("mlh models show s", ["sio2-vo"]),
    ],
)
def test_the_shell_completes(line: str, expected: list[str]) -> None:
    """Commands, groups, options, names of models; as the script of bash asks."""
    words = line.split(" ")
    asked = {"_MLH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    assert run(**asked).stdout.split() == expected


def test_completion_is_installed(tmp_path: Path) -> None:
    # typer looks for the shell among the parents, where a test need not have one; this asks it to be told.
    done = run(
        "--install-completion", "bash", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert done.returncode == 0, done.stderr
    script = (tmp_path / ".bash_completions" / "mlh.sh").read_text(encoding="utf-8")
    assert "_MLH_COMPLETE=complete_bash" in script and script.rstrip().endswith("mlh")
    assert "mlh.sh" in (tmp_path / ".bashrc").read_text(encoding="utf-8")


def test_ase_finds_the_calculators_by_name() -> None:
    """By the entry point, and by the older registry once they are imported."""
    from ase.calculators.calculator import get_calculator_class

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (module,) = project["entry-points"]["ase.plugins"].values()
    plugins = {plugin.name: plugin for plugin in import_module(module).__ase_plugins__}
    assert plugins.keys() == ase_plugin.CALCULATORS.keys()
    assert plugins["mlh"].implementation is get_calculator_class("mlh") is mlh.MLHCalculator
    assert plugins["mlh-dft"]() is get_calculator_class("mlh-dft") is mlh.DFTCalculator
