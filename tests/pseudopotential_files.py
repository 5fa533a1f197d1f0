"""GTH potentials of the embedded table as psp8, UPF 2 and PSML files: what the readers must give back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from mlh.basis.gth.table import GthPotential, _projector_norm

Array = np.ndarray


def _rows(values: Array) -> str:
    flat = [f"{value:.14E}" for value in values]
    return "\n".join(" ".join(flat[k : k + 4]) for k in range(0, len(flat), 4))


def raw_projectors(potential: GthPotential, l: int, r: Array) -> tuple[Array, Array]:
    """p_i(r) of one l, shape (n, points), and the matrix h (Hartree): not diagonal."""
    channel = next(c for c in potential.channels if c.l == l)
    p = [
        _projector_norm(l, channel.radius, i + 1)
        * r ** (l + 2 * i)
        * np.exp(-(r**2) / (2.0 * channel.radius**2))
        for i in range(len(channel.h))
    ]
    return np.array(p), np.array(channel.h)


def write_psp8(potential: GthPotential, path: Path, xc: int = 11, extension: int = 0) -> None:
    """Linear mesh of 0.01 Bohr to 10 Bohr, projectors in diagonal form."""
    r = 0.01 * np.arange(1001)
    terms = {l: [p for p in potential.projectors() if p.l == l] for l in range(4)}
    lmax = max((l for l in terms if terms[l]), default=0)
    core = potential.core

    def table(*columns: Array) -> list[str]:
        return [
            f"{k + 1:6d} " + " ".join(f"{v:.13E}".replace("E", "D") for v in row)
            for k, row in enumerate(np.stack([r, *columns], axis=1))
        ]

    lines = [
        f"{potential.symbol}    exported from {potential.name}",
        f"{atomic_numbers[potential.symbol]:.4f} {potential.valence:.4f} 170501    zatom,zion,pspd",
        f"8 {xc} {lmax} 4 {r.size} 0    pspcod,pspxc,lmax,lloc,mmax,r2well",
        f"9.99 {0.0 if core is None else 1.0:.8f} 0.0    rchrg fchrg qchrg",
        " ".join(str(len(terms[l])) for l in range(4)) + " 0     nproj",
        f"{extension}    extension_switch",
    ]
    for l in range(lmax + 1):
        if terms[l]:
            lines.append(f"{l}    " + " ".join(f"{p.energy:.13E}" for p in terms[l]))
            lines += table(*[r ** (l + 1) * p.reduced(r) for p in terms[l]])
    lines += ["4", *table(potential.local(r))]
    if core is not None:
        nothing = np.zeros_like(r)
        lines += table(4.0 * np.pi * core(r), 4.0 * np.pi * core.slope(r), nothing, nothing, nothing)
    path.write_text("\n".join(lines) + "\n")


def write_upf(potential: GthPotential, path: Path, **attributes: str) -> None:
    """Logarithmic mesh from 1e-4 to 20 Bohr, the matrix h as it is, Rydberg; attributes of the header."""
    r = np.exp(np.linspace(np.log(1e-4), np.log(20.0), 1201))
    betas, ls, blocks = [], [], []
    for channel in potential.channels:
        p, h = raw_projectors(potential, channel.l, r)
        betas += [r * row for row in p]
        ls += [channel.l] * len(p)
        blocks.append(2.0 * h)
    matrix, at = np.zeros((len(ls), len(ls))), 0
    for block in blocks:
        matrix[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    head = {
        "element": f"{potential.symbol} ",
        "pseudo_type": "NC",
        "is_ultrasoft": "F",
        "is_paw": "F",
        "has_so": "F",
        "core_correction": ".true." if potential.core is not None else ".false.",
        "functional": "SLA  PW   PBX  PBC",
        "z_valence": f"{potential.valence:.5E}",
        "number_of_wfc": str(sum(n > 0 for n in potential.electrons)),
        "number_of_proj": str(len(ls)),
    } | attributes
    lines = ['<UPF version="2.0.1">', "<PP_INFO> exported: h < 0 & others </PP_INFO>", "<PP_HEADER"]
    lines += [*(f'   {name}="{value}"' for name, value in head.items()), "/>"]
    lines += [f"<PP_MESH><PP_R size='{r.size}'>", _rows(r), "</PP_R></PP_MESH>"]
    lines += ["<PP_LOCAL>", _rows(2.0 * potential.local(r)), "</PP_LOCAL>", "<PP_NONLOCAL>"]
    for k, (l, beta) in enumerate(zip(ls, betas, strict=True), 1):
        lines += [f'<PP_BETA.{k} index="{k}" angular_momentum="{l}">', _rows(beta), f"</PP_BETA.{k}>"]
    lines += ["<PP_DIJ>", _rows(matrix.ravel()), "</PP_DIJ>", "</PP_NONLOCAL>"]
    if potential.core is not None:
        lines += ["<PP_NLCC>", _rows(potential.core(r)), "</PP_NLCC>"]
    lines.append("<PP_PSWFC>")
    for k, (l, n) in enumerate([(l, n) for l, n in enumerate(potential.electrons) if n > 0], 1):
        lines += [f'<PP_CHI.{k} l="{l}" occupation="{n:.1f}">', "0.0", f"</PP_CHI.{k}>"]
    path.write_text("\n".join([*lines, "</PP_PSWFC>", "</UPF>", ""]))


def write_psml(potential: GthPotential, path: Path, ids: tuple[int, int] = (101, 130), **atom: str) -> None:
    """A mesh whose steps grow from 0.005 Bohr by 1 % each, as those of psml files do; diagonal projectors."""
    r = np.append(0.0, np.cumsum(0.005 * 1.01 ** np.arange(310)))

    def function(values: Array) -> str:
        return f'<radfunc><data npts="{values.size}">\n{_rows(values)}\n</data></radfunc>'

    spec = {
        "atomic-label": potential.symbol,
        "z-pseudo": f"{potential.valence}",
        "relativity": "scalar",
    } | atom
    shells = "".join(
        f'<shell n="9" l="{"spdf"[l]}" occupation="{n}" />' for l, n in enumerate(potential.electrons) if n
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8" ?>',
        '<psml version="1.1" energy_unit="hartree" length_unit="bohr" xmlns="http://esl.cecam.org/PSML/ns/1.1">',
        "<pseudo-atom-spec " + " ".join(f'{k}="{v}"' for k, v in spec.items()) + ">",
        "<exchange-correlation><libxc-info>"
        + "".join(f'<functional name="functional {i}" id="{i}" />' for i in ids)
        + "</libxc-info></exchange-correlation>",
        f"<valence-configuration>{shells}</valence-configuration></pseudo-atom-spec>",
        f'<grid npts="{r.size}"><grid-data>\n{_rows(r)}\n</grid-data></grid>',
    ]
    if potential.core is not None:
        lines += ["<pseudocore-charge>", function(4.0 * np.pi * potential.core(r)), "</pseudocore-charge>"]
    lines += ["<local-potential>", function(potential.local(r)), "</local-potential>"]
    lines.append('<nonlocal-projectors set="scalar_relativistic">')
    for p in potential.projectors():
        near = r[r < 12.0 * p.radius]
        lines.append(f'<proj l="{"spdf"[p.l]}" seq="1" ekb="{p.energy:.13E}">')
        lines += [function(near**p.l * p.reduced(near)), "</proj>"]
    path.write_text("\n".join([*lines, "</nonlocal-projectors>", "</psml>", ""]))
