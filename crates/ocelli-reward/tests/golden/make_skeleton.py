"""Writes skeleton.json: the structural reward of all pairs of a list of formulas, computed with sympy.

Run with sympy 1.14.0: python make_skeleton.py. Formulas are written as trees; "kept" leaves numbers in exponents as they
are, "sign" turns them into their sign as VIPER-R1's released code does.
"""

import json
import pathlib
import platform
from importlib.metadata import version

import sympy
from sympy.parsing.sympy_parser import parse_expr

NAMES = "x v t k c F omega beta delta gamma x0 noise"
SYMBOLS = {name: sympy.Symbol(name) for name in NAMES.split()}
VARIABLES = {SYMBOLS[name] for name in "xvt"}
FORMULAS = [
    "-k*x", "-2*k*x", "k*x", "-k*x - c*v", "-c*v - k*x", "-k*x - beta*x**3", "F*cos(omega*t)",
    "-k*x - c*v + F*cos(omega*t)", "-k*x - c*v + F*cos(omega*t + delta)", "-k*sin(x)", "-c*v*Abs(v)", "-(k*x + c*v)",
    "k*(x + v)", "2*(x + v)", "-k*x + k*x", "0", "5", "k", "k + 3", "k*x*x", "k*sqrt(x)", "x/(1 + v**2)", "1/x**2",
    "exp(-gamma*t)*cos(omega*t)", "sin(-t)", "-sin(t)", "cos(-omega*t)", "-k*x/2 + noise", "(x + v)**2", "x**k",
    "-k*(x - x0)", "x*v*t - v*x*t*3", "-delta*x**(-1)", "3*x + 2*x", "tan(2*x - k*x)", "k*(x + v)*(x - v)",
]


def tree(expr):
    if expr.is_Symbol:
        return str(expr)
    if expr.is_Number:
        return float(expr)
    kind = {"Add": "+", "Mul": "*", "Pow": "^"}.get(type(expr).__name__, type(expr).__name__)
    return [kind, *map(tree, expr.args)]


def skeleton(expr, keep):
    if expr in VARIABLES:
        return expr
    if expr.is_Symbol:
        return sympy.S.One
    if expr.is_Number:
        return sympy.sign(expr)
    if keep and expr.is_Pow and expr.exp.is_Number:
        return skeleton(expr.base, keep) ** expr.exp
    return expr.func(*(skeleton(part, keep) for part in expr.args))


def similarity(a, b, keep):
    a, b = ({skeleton(term, keep) for term in sympy.Add.make_args(parse_expr(text, SYMBOLS))} for text in (a, b))
    return round(len(a & b) / len(a | b), 9)


document = {
    "made_by": "make_skeleton.py",
    "python": platform.python_version(),
    "sympy": version("sympy"),
    "formulas": [tree(parse_expr(text, SYMBOLS, evaluate=False)) for text in FORMULAS],
    "kept": [[similarity(a, b, True) for b in FORMULAS] for a in FORMULAS],
    "sign": [[similarity(a, b, False) for b in FORMULAS] for a in FORMULAS],
}
path = pathlib.Path(__file__).with_name("skeleton.json")
path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
print(f"{len(FORMULAS)} formulas in {path.name}")
