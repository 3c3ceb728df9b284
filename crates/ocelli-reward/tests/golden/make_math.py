"""Writes math.json: pairs of a gold answer and a response, and what math-verify says of each.

Run with math-verify 0.9.0: python make_math.py. Every pair is judged by verify(parse(gold), parse(response)) with
default settings. The pairs are of three sorts: written by hand, in families of spellings of which all within a
family are equal; written by hand as single pairs; and made from templates with seeded numbers. What math-verify says
is recorded as it is; where it is wrong, docs/math-disagreements.md says so.
"""

import importlib.metadata
import itertools
import json
import logging
import pathlib
import random
from decimal import Decimal
from fractions import Fraction

from math_verify import parse, verify

logging.disable(logging.CRITICAL)
chance = random.Random(20260921)

# Spellings of one value a line. Each is compared with its neighbours in the line, and with the first of the next.
FAMILIES = [
    # Whole numbers.
    ["5", "5.0", "+5", "05", "5.", "x=5", "x = 5", r"\text{x}=5", "5!/4!", r"\frac{10}{2}", "5.000"],
    ["-3", "-3.0", "- 3", r"-\frac{6}{2}", "x=-3", "y = -3", r"-\sqrt{9}", "2-5"],
    ["1000", "1,000", "1000.0", "10^3", "10^{3}", r"10^3", "1{,}000", r"1\times10^3", "1.0E3"],
    ["1234567", "1,234,567", "1234567.0", "1{,}234{,}567"],
    ["12345.67", "12,345.67", "1234567/100", r"\frac{1234567}{100}"],
    ["0", "-0", "0.0", r"\frac{0}{3}", "x=0", "5-5", r"0^\circ"],
    ["120", "5!", r"\frac{6!}{3!}", r"2\cdot60", r"2 \times 60", "2*60", "240/2", "120.00"],
    ["2^{100}", "1267650600228229401496703205376", "4^{50}", r"2^{99}\cdot2", r"\left(2^{10}\right)^{10}"],
    ["72", r"72 \text{ cm}", r"72\text{ cm}^2", "72 cm", r"72\,\text{cm}", r"72\ \mathrm{cm}", r"72\text{ dollars}", r"\$72"],
    # Fractions.
    [r"\frac{1}{2}", r"\dfrac{1}{2}", r"\tfrac12", r"\frac12", "1/2", "0.5", ".5", r"\frac{2}{4}", "50\\%", r"\cfrac{1}{2}", "0.50"],
    [r"\frac{3}{4}", r"\frac34", "3/4", "0.75", r"\frac{6}{8}", r"\frac{-3}{-4}", "75\\%", r"1-\frac14"],
    [r"-\frac{5}{3}", r"\frac{-5}{3}", r"\frac{5}{-3}", "-5/3", r"-1\frac{2}{3}", r"-\dfrac{10}{6}"],
    [r"\frac{7}{2}", r"3\frac{1}{2}", r"3\frac12", "3.5", "7/2", r"3+\frac{1}{2}", r"\frac{14}{4}"],
    [r"\frac{1}{3}", "0.333333", "0.3333333333", "1/3", r"\frac{2}{6}", r"3^{-1}"],
    [r"\frac{22}{7}", r"3\frac{1}{7}", "22/7", "3.142857"],
    [r"\frac{a}{b}", r"a/b", r"\frac{2a}{2b}", r"a b^{-1}", r"\frac ab"],
    # Percent.
    ["25\\%", r"25 \%", "25%", r"\frac{1}{4}", "0.25", "25", r"25\text{ percent}", "25 percent"],
    ["12.5\\%", r"\frac{1}{8}", "0.125", "12.5%", r"12.50\%"],
    ["150\\%", "1.5", r"\frac32", "150%"],
    # Surds and roots.
    [r"\sqrt{2}", r"\sqrt2", r"2^{1/2}", r"2^{\frac{1}{2}}", r"\frac{2}{\sqrt{2}}", "1.41421356", r"\sqrt[2]{2}", r"\sqrt 2"],
    [r"2\sqrt{2}", r"\sqrt{8}", r"2\sqrt2", r"\frac{4}{\sqrt{2}}", r"8^{1/2}", "2.828427", r"2\cdot\sqrt{2}", r"2 \sqrt{2}", r"2^{3/2}"],
    [r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt3}{2}", r"\sqrt{3}/2", r"\frac{1}{2}\sqrt{3}", r"\sqrt{\frac{3}{4}}", r"\frac{3}{2\sqrt{3}}", r"\sin 60^\circ"],
    [r"1+\sqrt{2}", r"\sqrt{2}+1", r"\frac{1}{\sqrt{2}-1}", r"\sqrt{3+2\sqrt{2}}", r"(1+\sqrt2)"],
    [r"\sqrt{6}", r"\sqrt{2}\sqrt{3}", r"\sqrt{2}\cdot\sqrt{3}", r"\frac{6}{\sqrt{6}}", "6^{1/2}"],
    [r"\sqrt[3]{16}", r"2\sqrt[3]{2}", r"2^{4/3}", r"16^{1/3}", r"2^{\frac{4}{3}}"],
    [r"5\sqrt{13}", r"\sqrt{325}", r"\frac{65}{\sqrt{13}}", "18.027756"],
    [r"\sqrt{7+4\sqrt{3}}", r"2+\sqrt{3}", r"\frac{1}{2-\sqrt{3}}"],
    [r"\sqrt{5}-2", r"\frac{1}{\sqrt{5}+2}", r"-2+\sqrt5"],
    [r"\frac{1+\sqrt{5}}{2}", r"\frac{\sqrt{5}+1}{2}", r"\frac12+\frac{\sqrt5}{2}", "1.618034", r"\frac{2}{\sqrt5-1}"],
    # Powers and scientific notation.
    [r"3 \times 10^8", r"3\times10^{8}", r"3 \cdot 10^8", "300000000", "300,000,000", "3E8"],
    [r"1.5\times10^{-3}", "0.0015", r"\frac{3}{2000}", r"15\times10^{-4}"],
    [r"2^{10}", "1024", "1,024", r"4^5", r"32^2"],
    [r"2^{-3}", r"\frac18", "0.125", r"\frac{1}{2^3}"],
    # π and e.
    [r"\pi", "π", r"\frac{2\pi}{2}", r"1\pi", r"180^\circ\cdot\frac{\pi}{180}"],
    [r"\frac{\pi}{2}", r"\frac12\pi", r"\pi/2", r"0.5\pi", r"\frac{1}{2}\pi", r"\frac{2\pi}{4}"],
    [r"12\pi", r"12 \pi", r"12\cdot\pi", r"\pi\cdot12", "37.699112", r"12\pi\text{ cm}^3", r"4\pi\cdot3"],
    [r"e", "e^1", r"\exp(1)", "e"],
    [r"e^{2}", "e^2", r"e\cdot e", r"\exp(2)"],
    [r"\ln 2", r"\ln{2}", r"\ln(2)", r"\frac{\ln 4}{2}", r"-\ln\frac12", r"-\ln\frac{1}{2}"],
    [r"\log_2 8", "3", r"\log_{2}{8}", r"\log_{2}(8)", r"\frac{\ln 8}{\ln 2}"],
    [r"\log 100", "2", r"\log_{10} 100", r"\log{100}"],
    [r"\ln x", r"\ln(x)", r"\ln{x}"],
    # Trigonometry.
    [r"\sin\frac{\pi}{6}", r"\frac12", r"\sin(\pi/6)", r"\cos\frac{\pi}{3}"],
    [r"\tan\frac{\pi}{4}", "1", r"\tan(\pi/4)"],
    [r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt{5}}{4}", r"\frac{\sqrt5+1}{4}"],
    [r"\arctan 1", r"\frac{\pi}{4}", r"\arctan(1)", r"\tan^{-1} 1"],
    [r"\arcsin\frac{3}{5}", r"\arccos\frac45", r"\sin^{-1}\frac{3}{5}"],
    [r"\sin^2 x", r"(\sin x)^2", r"\sin(x)^2", r"1-\cos^2 x"],
    [r"\sin 2x", r"\sin(2x)", r"2\sin x\cos x"],
    [r"\tan x", r"\frac{\sin x}{\cos x}"],
    # Degrees.
    [r"90^\circ", "90", r"90^{\circ}", "90°", r"90\text{ degrees}", "90 degrees", r"90\degree"],
    [r"37.5^\circ", "37.5", r"\frac{75}{2}", r"37.5^{\circ}"],
    # Polynomials and rational functions.
    ["x^2+2x+1", "(x+1)^2", "x^2 + 2x + 1", "1+2x+x^2", r"x(x+2)+1", "(1+x)^2", r"x^{2}+2x+1"],
    ["x^2-1", "(x-1)(x+1)", "(x+1)(x-1)", "-1+x^2", "-(1-x^2)"],
    ["2x+3", "3+2x", "2(x+1)+1", r"2\cdot x+3", "2x + 3", "2 x+3"],
    [r"\frac{x^2-1}{x-1}", "x+1", "1+x"],
    [r"\frac{1}{x}+\frac{1}{y}", r"\frac{x+y}{xy}", r"x^{-1}+y^{-1}"],
    ["(a+b)^3", "a^3+3a^2b+3ab^2+b^3", "(b+a)^3"],
    [r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", r"\frac12 n(n+1)", r"\binom{n+1}{2}"],
    ["x^3-6x^2+11x-6", "(x-1)(x-2)(x-3)"],
    ["3x^2y", "3yx^2", r"3\cdot x^2\cdot y", r"x^2\cdot3y"],
    [r"2^{n+1}", r"2\cdot2^n", r"2^n\cdot2"],
    [r"\sqrt{x^2+1}", r"(x^2+1)^{1/2}", r"\sqrt{1+x^2}"],
    ["a_n", "a_{n}"], ["x_1+x_2", "x_2+x_1", "x_{1}+x_{2}"],
    [r"\alpha+\beta", r"\beta+\alpha", "α+β"],
    [r"|x-1|", r"|1-x|", r"\lvert x-1\rvert", r"\left|x-1\right|"],
    # Equations.
    ["y=2x+3", "y = 3+2x", "2x+3", "y=2x + 3", "y-2x-3=0", "y-3=2x"],
    ["x^2+y^2=25", "y^2+x^2=25", "x^2+y^2-25=0", "25=x^2+y^2"],
    ["2x+3y=6", "3y+2x=6", "2x+3y-6=0", "6=2x+3y"],
    ["f(x)=x^2", "f(x) = x^2", "x^2", "f(x)=x\\cdot x"],
    ["x=2,y=3", "x=2, y=3", "y=3,x=2", r"x=2\text{ and }y=3"],
    ["x=1,2", "x=2,1", "1,2", r"x=1\text{ or }x=2", r"x\in\{1,2\}", r"\{1,2\}"],
    [r"x=\pm2", r"\pm2", "2,-2", "-2,2", r"\{-2,2\}", r"x=2,-2"],
    ["a=b=5", "5", "a = b = 5"],
    # Inequalities and intervals.
    ["x>5", "5<x", "x > 5", r"x\gt5"],
    [r"x\le3", r"x\leq3", "x <= 3", r"3\ge x", r"x\leqslant 3", "x≤3"],
    ["1<x<2", "1 < x < 2", r"1\lt x\lt2"],
    [r"-1\le x\le1", r"-1\leq x\leq 1"],
    ["(1,2)", "(1, 2)", r"\left(1,2\right)", r"\left( 1,2 \right)"],
    ["[1,2]", r"[1, 2]", r"\left[1,2\right]", r"x\in[1,2]"],
    [r"(-\infty,3]", r"\left(-\infty,3\right]", r"(-\infty, 3]", r"x\in(-\infty,3]"],
    [r"[2,\infty)", r"[2,+\infty)", r"\left[2,\infty\right)", r"[2, \infty)"],
    [r"(-\infty,-1)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,-1)", r"(-\infty,-1) \cup (1,+\infty)", r"\left(-\infty,-1\right)\cup\left(1,\infty\right)"],
    [r"[0,1)\cup(1,2]", r"[0,2]\setminus\{1\}", r"(1,2]\cup[0,1)"],
    [r"\left(\frac12,\frac32\right)", "(0.5,1.5)", r"(\frac{1}{2},\frac{3}{2})", "(1/2,3/2)"],
    # Sets, tuples, points, vectors.
    [r"\{1,2,3\}", r"\{3,2,1\}", "1,2,3", r"\{1, 2, 3\}", r"\left\{1,2,3\right\}", "3,1,2", "1, 2, 3"],
    ["(1,2,3)", "(1, 2, 3)", r"\left(1,2,3\right)", "1,2,3"],
    ["(3,-1)", "(3, -1)", r"\left(3,-1\right)", "3,-1"],
    [r"(\frac{1}{2},3)", r"(0.5,3)", r"\left(\frac12,3\right)", "(1/2,3)"],
    [r"(2,\frac{\pi}{3})", r"\left(2,\frac{\pi}{3}\right)", r"(2,\pi/3)"],
    [r"\emptyset", r"\{\}", r"\varnothing", "∅"],
    [r"\{1\}", "1", r"\{1.0\}"],
    ["(1,2),(3,4)", "(3,4),(1,2)", r"\{(1,2),(3,4)\}", "(1,2), (3,4)"],
    [r"\mathbb{R}", r"(-\infty,\infty)", "ℝ"],
    [r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\left[\begin{matrix}1\\2\end{matrix}\right]", r"\begin{pmatrix}1.0\\2\end{pmatrix}"],
    [r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"],
    [r"\begin{pmatrix}\frac12&0\\0&\frac12\end{pmatrix}", r"\begin{pmatrix}0.5&0\\0&0.5\end{pmatrix}", r"\frac12\begin{pmatrix}1&0\\0&1\end{pmatrix}"],
    [r"\begin{pmatrix}-2\\-14\\-7\end{pmatrix}", r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}"],
    # ± and lists.
    [r"3\pm\sqrt{2}", r"3+\sqrt{2},3-\sqrt{2}", r"3-\sqrt2,3+\sqrt2", r"\{3-\sqrt2,3+\sqrt2\}"],
    [r"1\pm2i", r"1+2i,1-2i", r"1-2i, 1+2i"],
    ["2,3", "3,2", "2, 3", r"2 \text{ and } 3", "2 and 3", r"2\text{ or }3"],
    # Complex numbers.
    ["3+4i", "4i+3", "3 + 4i", r"3+4\cdot i"],
    ["-i", "-1i", "0-i"],
    [r"\frac{1+i}{2}", r"\frac12+\frac{i}{2}", r"\frac{1}{2}+\frac{1}{2}i"],
    # Factorials, binomials, floors.
    [r"\binom{5}{2}", "10", r"\binom{5}{3}", r"\dbinom{5}{2}", r"\frac{5!}{2!3!}"],
    ["10!", "3628800", "3,628,800", r"10\cdot9!"],
    [r"\lfloor 3.7\rfloor", "3", r"\left\lfloor 3.7\right\rfloor"],
    [r"\lceil 3.2\rceil", "4", r"\left\lceil 3.2\right\rceil"],
    [r"|-7|", "7", r"\left|-7\right|"],
    # Letters and text.
    [r"\text{A}", "A", r"\text{(A)}", r"\mathrm{A}", r"\textbf{A}"],
    [r"\text{C}", "C", r"\text{(C)}", r"\textbf{(C)}", r"\mathbf{C}"],
    [r"\text{Yes}", "Yes", r"\text{yes}", r"\text{ Yes }"],
    [r"\text{east}", r"\text{East}", r"\text{ east}"],
    [r"\text{no solution}", r"\text{No solution}", r"\text{ no solution }"],
    [r"\text{even}", r"\text{Even}", "even"],
    [r"\text{June 20}", r"\text{June }20", r"\text{June 20}"],
    [r"\infty", r"+\infty", "∞"],
    [r"-\infty", r"- \infty"],
    # Ratios and times.
    ["3:4", r"\frac34", "3/4", "6:8"],
    ["1:2:3", "1:2:3"],
    # Repeating decimals and bases.
    [r"0.\overline{3}", r"0.\overline{3}"],
    ["101_2", "101_{2}"],
    [r"\text{11}", r"\text{11}"],
    # Sums of mixed kinds.
    [r"6+9\pi", r"9\pi+6", r"3(2+3\pi)"],
    [r"\frac{\pi\sqrt{3}}{6}", r"\frac{\sqrt{3}\pi}{6}", r"\frac{\sqrt3}{6}\pi"],
    [r"25\pi-\frac{75\sqrt{3}}{4}", r"25\pi-\frac{75}{4}\sqrt{3}"],
    [r"\frac{3\sqrt{3}+\pi}{2}", r"\frac{\pi+3\sqrt3}{2}", r"\frac{\pi}{2}+\frac{3\sqrt3}{2}"],
    [r"e^{i\pi}", "-1"],
    [r"\frac{1}{1+\frac{1}{2}}", r"\frac23", "2/3"],
    [r"\gcd(12,18)", "6"], [r"\max(2,5)", "5"],
    ["kx^2", "k x^2", r"k\cdot x^2"],
    [r"-\frac{b}{2a}", r"\frac{-b}{2a}", "-b/(2a)"],
    [r"\frac{-b\pm\sqrt{b^2-4ac}}{2a}", r"\frac{-b\pm\sqrt{b^2-4ac}}{2a}"],
]

# Pairs that are or look like different answers.
PAIRS = [
    ("5", "6"), ("5", "-5"), ("5", "5.01"), ("0.33", r"\frac13"), ("3.14", r"\pi"), ("3.141593", r"\pi"), ("22/7", r"\pi"),
    ("1.41", r"\sqrt2"), (r"\frac12", r"\frac13"), (r"\frac12", "2"), ("50\\%", "0.05"), ("12.5\\%", "12.5"),
    ("1000", "100"), ("1,000", "1.000"), ("1,234", "1.234"), ("12", "1,2"), ("x=5", "y=5"), ("x=5", "x=6"), ("x=5", "-5"),
    ("x+1", "y+1"), ("x+1", "x-1"), ("(x+1)^2", "x^2+1"), ("x^2", "2x"), ("2^x", "x^2"), ("xy", "x+y"), (r"\sin x", r"\cos x"),
    (r"\ln x", r"\log x"), ("(1,2)", "[1,2]"), ("(1,2)", "(2,1)"), ("(1,2]", "[1,2)"), ("[1,2]", "[1,3]"), ("(1,2,3)", "(3,2,1)"),
    (r"\{1,2\}", r"\{1,3\}"), (r"\{1,2\}", r"\{1,2,3\}"), ("1,2", "1,2,3"), ("x>5", "x<5"), ("x>5", r"x\ge5"), ("x>5", "x>6"),
    (r"(-\infty,3)", r"(-\infty,3]"), (r"[2,\infty)", r"x\ge2"), (r"x\ge2", r"[2,\infty)"), ("1<x<2", "(1,2)"), ("(1,2)", "1<x<2"),
    (r"-1\le x\le1", "[-1,1]"), ("[-1,1]", r"-1\le x\le1"), (r"x\ne1", r"(-\infty,1)\cup(1,\infty)"), ("1<x<2", "[1,2]"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"), (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), (r"\text{A}", r"\text{B}"), ("A", "B"), ("A", "AB"),
    (r"\text{Yes}", r"\text{No}"), (r"\text{east}", r"\text{west}"), ("3:4", "4:3"), (r"\sqrt{2}", r"\sqrt{3}"), (r"\sqrt{2}", r"-\sqrt{2}"),
    (r"\sqrt{x^2}", "x"), (r"\sqrt{x^2}", "|x|"), (r"\pm2", "2"), (r"\pm2", "-2"), (r"3\pm\sqrt2", r"3+\sqrt2"), ("2,3", "2"), ("2", "2,3"),
    ("3+4i", "3-4i"), ("3+4i", "4+3i"), ("3+4i", "5"), (r"\frac{\pi}{2}", r"\frac{\pi}{3}"), ("90^\\circ", "91"), (r"\infty", r"-\infty"),
    (r"\infty", "1000000"), (r"\emptyset", "0"), ("y=2x+3", "y=3x+2"), ("y=2x+3", "x=2y+3"), ("x^2+y^2=25", "x^2-y^2=25"), ("x+y=5", "5"),
    ("2x=10", "x=5"), ("x=5", "2x=10"), ("5", "2x=10"), ("10", "2x=10"), ("5", "x^2=5"), ("2x+z=1", "1"), ("x=1,y=2", "1,2"), ("1,2", "x=1,y=2"),
    ("x=1,y=2", "x=2,y=1"), ("x=2,y=3", "(2,3)"), ("(2,3)", "x=2,y=3"), ("(x,y)=(2,3)", "(2,3)"), ("(2,3)", "(x,y)=(2,3)"), ("x=1", "1=x"),
    ("10\\%", "10"), ("10\\%", "0.1"), ("10\\%", "1"), ("0.1\\%", "0.001"), ("2\\frac{1}{2}", "1"), (r"2\frac12", r"\frac{5}{2}"), ("2 1/2", "2.5"),
    (r"\frac{1}{2}x", r"\frac{x}{2}"), (r"\frac{1}{2x}", r"\frac{x}{2}"), ("1/2x", r"\frac{x}{2}"), ("a/bc", r"\frac{a}{b}c"), ("-2^2", "-4"), ("(-2)^2", "4"),
    ("2^3^2", "512"), ("2^{3^2}", "512"), ("9^{9^{9}}", "9^{9^9}"), (r"e^{-x}", r"\frac{1}{e^x}"), (r"\log_3 9", "2"), (r"\log_{3}{27}", "3"),
    ("0.1+0.2", "0.3"), ("0.30000001", "0.3"), ("0.3000004", "0.3"), ("0.300001", "0.3"), ("1e3", "1000"), ("1.0\\times 10^{-7}", "0"), ("1\\times 10^{-7}", "0"),
    ("99999.9999999", "100000"), ("0.9999999", "1"), ("0.999999", "1"), (r"\frac{999999}{1000000}", "1"), ("100000000", "100000001"), (r"10^{20}", r"10^{20}+1"),
    (r"\sqrt{10^{20}+1}", r"10^{10}"), (r"\pi^2", "9.8696044"), (r"e^{\pi\sqrt{163}}", "262537412640768744"), (r"\frac{355}{113}", r"\pi"),
    ("x", "X"), ("a", r"\alpha"), ("O(n)", "O(n)"), ("n!", "n"), ("(n+1)!", "(n+1)n!"), ("P(x)", "P(y)"), ("f(x)", "f(x)"), ("f(2)=3", "3"), ("f(x)=3", "3"),
    (r"\{x\mid x>5\}", r"\{x\mid x>5\}"), (r"\{x|x>5\}", "x>5"), (r"\mathbb{Z}", r"\mathbb{R}"), (r"\mathbb{Z}", r"\mathbb{Z}"), (r"\mathbb{R}\setminus\{1\}", r"(-\infty,1)\cup(1,\infty)"),
    (r"\mathbb{R}\setminus\{1\}", r"x\ne1"), (r"\mathbb R", r"\mathbb{R}"), ("12:30", "12:30"), ("12:30", "12:45"), (r"12\text{ hours}", "12"), (r"5\text{ ft}", r"5\text{ m}"),
    (r"3\text{ ft }4\text{ in}", r"3\text{ ft }4\text{ in}"), ("5 apples", "5"), ("5 km/h", "5"), (r"5\,\text{km/h}", "5"), (r"5\text{ m/s}^2", "5"), (r"10\text{ cm}^3", "10"),
    (r"\$1{,}000", "1000"), (r"\$5.50", "5.5"), (r"\text{\$}5", "5"), ("5 dollars", "5"), (r"5\text{ dollars}", "5"), (r"5\cent", "5"), ("€5", "5"), ("£5.00", "5"),
    (r"\boxed{5}", "5"), (r"\fbox{5}", "5"), ("5", r"\boxed{\boxed{5}}"), (r"\textbf{(B) } 5", "B"), (r"\textbf{(B)}", "B"), (r"\text{(B)}", r"\text{(C)}"),
    (r"(\text{B})", "B"), (r"\mathrm{(B)}", "B"), (r"\text{B, C}", "B,C"), ("B,C", "C,B"), ("AB", "BA"), ("ABC", "abc"), (r"\triangle ABC", r"\triangle ABC"), (r"\angle A", r"\angle B"),
    (r"\overline{AB}", r"\overline{AB}"), (r"\overline{AB}", r"\overline{CD}"), (r"\vec{a}", r"\vec{b}"), (r"\vec{a}+\vec{b}", r"\vec{b}+\vec{a}"), (r"\overrightarrow{AB}", r"\vec{AB}"),
    ("x'", "x"), ("f'(x)", "f'(x)"), (r"x^{\circ}", "x"), (r"A^T", r"A^{T}"), (r"\frac{d}{2}", "d/2"), (r"\frac{dy}{dx}", r"\frac{dy}{dx}"), (r"y=\frac{1}{x}", "xy=1"), ("xy=6", "6"),
    (r"\sum_{i=1}^{10} i", "55"), (r"\prod_{i=1}^{4} i", "24"), (r"\int_0^1 x\,dx", r"\frac12"), (r"\lim_{x\to0}\frac{\sin x}{x}", "1"), (r"\sum_{n=1}^{\infty}\frac{1}{n^2}", r"\frac{\pi^2}{6}"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", "-2"), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    (r"\begin{cases}x=1\\y=2\end{cases}", "x=1,y=2"), (r"\langle1,2,3\rangle", "(1,2,3)"), (r"\mathbf{i}+2\mathbf{j}", r"\mathbf{i}+2\mathbf{j}"), (r"3\mathbf{i}-\mathbf{j}", r"-\mathbf{j}+3\mathbf{i}"),
    (r"1,2,\ldots,10", "1,2,10"), (r"5\approx5.1", "5"), (r"\pi\approx3.14", r"\pi"), (r"x\approx3.14", "3.14"), (r"\approx3.14", "3.14"), (r"\sim5", "5"), ("=5", "5"), ("5=", "5"),
    ("5,", "5"), ("5;", "5"), ("(5)", "5"), ("[5]", "5"), (r"\{5\}", "5"), ("{5}", "5"), ("((5))", "5"), ("5%", "5"), ("--5", "5"), ("+-5", "-5"), ("5 5", "55"), ("5 5", "10"), ("2(3)", "6"), ("2(3)", "5"),
    ("(2)(3)", "6"), ("2x(3)", "6x"), ("x(x+1)", "x^2+x"), ("x(y)", "xy"), ("a(b+c)", "ab+ac"), (r"2\sqrt{3}(4)", r"8\sqrt3"), (r"\sqrt[3]{-8}", "-2"), ("(-8)^{1/3}", "-2"), (r"\sqrt{-4}", "2i"), (r"\sqrt{-1}", "i"),
    ("(1+i)^2", "2i"), ("i^2", "-1"), (r"e^{i\pi}+1", "0"), (r"e^{\pi i/2}", "i"), (r"\cos\theta+i\sin\theta", r"e^{i\theta}"), ("|3+4i|", "5"), (r"\frac{1}{i}", "-i"), (r"(2+i)(2-i)", "5"),
    (r"\sin^{-1}x", r"\arcsin x"), (r"\tan45^\circ", "1"), (r"\sin30^\circ", r"\frac12"), (r"\cos 60^\circ", "0.5"), (r"\sec x", r"\frac{1}{\cos x}"), (r"\cot x", r"\frac{1}{\tan x}"), (r"\sinh 0", "0"),
    (r"\log_2 3", r"\frac{\log 3}{\log 2}"), (r"\ln e", "1"), (r"\ln e^2", "2"), (r"e^{\ln 5}", "5"), (r"\ln(ab)", r"\ln a+\ln b"), (r"\log_4 2", r"\frac12"), (r"2\ln 3", r"\ln 9"), (r"\ln 6", r"\ln2+\ln3"),
    (r"x\in\mathbb{R}", r"\mathbb{R}"), (r"x \in \{1,2\}", "1,2"), (r"k\in\mathbb{Z}", r"k\in\mathbb{Z}"), (r"\frac{\pi}{2}+k\pi", r"k\pi+\frac{\pi}{2}"), (r"2k\pi", r"2\pi k"), (r"x=\frac{\pi}{4}+n\pi", r"\frac{\pi}{4}+n\pi"),
    (r"(x-1)(x-2)=0", "x=1,2"), (r"(x-2)^2+(y+3)^2=16", r"(y+3)^2+(x-2)^2=4^2"), (r"x^2+y^2-4x+6y-3=0", r"(x-2)^2+(y+3)^2=16"), ("3x-4y+7=0", "6x-8y+14=0"), ("3x-4y+7=0", "4y-3x-7=0"), ("y=-x", "x+y=0"),
    ("x>1", "2x>2"), ("x>1", "-x<-1"), ("x>1", "-x>-1"), (r"x\ge1", r"1\le x"), ("x<1,x>2", "x>2,x<1"), (r"x<1\text{ or }x>2", r"(-\infty,1)\cup(2,\infty)"), (r"1<x\le2", "(1,2]"), ("0<x", r"(0,\infty)"), ("1<x<2", "2>x>1"),
]

# Whole responses: where in a text the answer stands.
RESPONSES = [
    ("$5$", "The answer is 5."), ("$5$", "The final answer is 5. I hope it is correct."), ("$5$", "The final answer is $5$. I hope it is correct."),
    ("$5$", r"So x = 3, then y = 5. \boxed{5}"), ("$5$", r"We get \boxed{5}."), ("$5$", r"$\boxed{5}$"), ("$5$", r"$$\boxed{5}$$"), ("$5$", r"\[\boxed{5}\]"), ("$5$", r"\(\boxed{5}\)"),
    ("$5$", r"First \boxed{4}. Wait, that is wrong because of a sign that was lost somewhere. So: \boxed{5}"), ("$4$", r"First \boxed{4}. Wait, that is wrong because of a sign that was lost somewhere. So: \boxed{5}"),
    ("$1,2$", r"\boxed{1} and \boxed{2}"), ("$1,2$", r"$\boxed{1}$ and $\boxed{2}$"), ("$2$", r"\boxed{1} and \boxed{2}"), ("$5$", r"Answer: 5"), ("$5$", "answer: $5$"), ("$5$", "Answer: 3 + 2 = 5"), ("$5$", "Answer: x = 5"),
    ("$5$", "**Answer:** 5"), ("$5$", "The answer is **5**."), ("$5$", "**5**"), ("$5$", "Therefore, it is 5 apples."), ("$5$", "She has 5 apples and 3 pears."), ("$3$", "She has 5 apples and 3 pears."), ("$1000$", "She earns $1,000 a week."),
    ("$1000$", "She earns 1,000 dollars."), ("$12.5$", "It costs $12.50."), ("$12.5$", "It costs $12.50 in total"), ("$72$", "#### 72"), ("$1234$", "#### 1,234"), ("$-5$", "#### -5"), ("$0.5$", "#### 0.5"), ("$50$", "It is 50%."), ("$0.5$", "It is 50%."),
    ("$50\\%$", "It is 50 percent."), (r"$\frac12$", "It is 1/2."), (r"$\frac12$", "It is 1/2"), (r"$\frac{3}{4}$", "The probability is 3/4, since so many are red."), ("$14$", "2*(3+4)"), ("$14$", "It is 2*(3+4)."), ("$7$", "3+4 is it"), ("$8$", "2^3"),
    (r"$\frac{1}{2}$", r"It is \frac{1}{2}"), (r"$-\frac{1}{2}$", r"It is -\frac{1}{2} then"), ("$x+1$", r"So we have $y = 2$ and finally $x+1$."), ("$x+1$", r"The answer is $x+1$ for all $x > 0$."), ("$x+1$", r"The final answer is $x+1$. That holds for $x>0$ and 3 more."),
    ("$1,2$", "The answer is $1$ and $2$."), ("$1,2,3$", "The solutions are $1$, $2$, and $3$."), ("$1,2,3$", "The solutions are $1$, $2$ and $3$"), (r"$\{1,2\}$", "The answer is $1$ or $2$."), ("$25\\%$", r"It is $25$ %"), ("$25\\%$", r"It is $25\%$"), ("$0.25$", r"It is $25$ percent."),
    ("$5$", r"\boxed{5 \text{ cm}}"), ("$5$", r"\boxed{5\,\text{cm}}"), ("$5$", r"\boxed{x = 5}"), ("$5$", r"\boxed{\$5}"), ("$5$", r"\boxed{5^\circ}"), ("$\\text{B}$", r"\boxed{B}"), ("$\\text{B}$", r"\boxed{\text{B}}"), ("$\\text{B}$", r"\boxed{\text{(B)}}"), ("$\\text{B}$", r"\boxed{\textbf{(B)}\ 5}"),
    ("$B$", "The answer is (B)."), ("$B$", r"The correct option is $\boxed{B}$."), ("$B$", r"\boxed{b}"), ("$\\frac{1}{2}$", r"\boxed{\frac{1}{2}"), ("$5$", r"\boxed{5"), ("$5$", r"\boxed 5"), ("$5$", "no number here"), ("$5$", ""), ("$5$", "five"), ("$5$", "5"), ("$5$", "5.0"), ("$5$", " 5 "), ("$5$", "\n5\n"),
    ("5", "5"), ("5", "$5$"), ("5", r"\boxed{5}"), ("5", "6"), ("1/2", r"\boxed{\frac12}"), ("0.5", r"\boxed{\frac12}"), ("1,234", r"\boxed{1234}"), ("-7", r"\boxed{-7}"), ("x=5", r"\boxed{5}"), ("The answer is 5.", r"\boxed{5}"), (r"\boxed{5}", "5"), (r"\boxed{5}", r"\boxed{5}"), (r"\boxed{\frac12}", r"\boxed{0.5}"),
    (r"\frac{1}{2}", r"\boxed{0.5}"), ("3 apples", r"\boxed{3}"), ("$5$", r"<think>Maybe \boxed{4}?</think> The answer is \boxed{5}."), ("$5$", r"<think>$4$</think><answer>5</answer>"), ("$5$", r"<think>$4$</think><answer>$5$</answer>"), ("$5$", r"<think>hm</think> <answer> \boxed{5} </answer>"),
    ("$5$", r"Final Answer: The final answer is $5$. I hope it is correct."), ("$5$", r"Final Answer: The final answer to the question is: 5"), ("$5$", "The FINAL ANSWER IS 5"), ("$5$", r"The final answer is: $\boxed{5}$"), ("$5$", "### Final answer\n\n$$5$$"), ("$5$", "### Final answer\n\n\\[\nx = 5\n\\]\n"),
    ("$5$", "The answer is 5 = 2 + 3"), ("$5$", "The answer: 2+3=5"), ("$5$", r"2 + 3 = 5"), ("$5$", r"$2 + 3 = 5$"), ("$5$", r"$x = 2 + 3 = 5$"), ("$5$", r"$$x = \frac{10}{2} = 5.$$"), ("$5$", r"$5.$"), ("$5$", "$ 5 $"), ("$5$", "$\n5\n$"), ("$5$", "$$\n5\n$$"), ("$5$", r"\[ 5 \]"), ("$5$", "\\[\n5\n\\]"), ("$5$", r"\( 5 \)"), ("$5$", "so [ 5 ] it is"),
    ("$12$", "The area is 12 m2."), ("$12$", "The area is $12$ m$^2$."), ("$12$", "The area is 12cm."), ("$12$", "There are 12."), ("$12$", "There are 12, no more."), ("$12$", "12:"), ("$3$", "Version 3.5.1"), ("$10$", "10-12"), ("$2024$", "on 2024-05-06"), ("$15$", "15 = x"), ("$15$", "x = 15"), ("$15$", "x=15"), ("$15$", "x≈15"), ("$15$", "(15)"), ("$15$", "is 15)"),
    (r"$\sqrt{2}$", "sqrt(2)"), (r"$\sqrt{2}$", "$sqrt(2)$"), (r"$\sqrt{2}$", r"√2"), (r"$\sqrt{2}$", r"\sqrt{2}"), (r"$2\pi$", "2π"), (r"$2\pi$", r"2\pi"), (r"$(1,2)$", "(1,2)"), (r"$(1,2)$", r"\boxed{(1,2)}"), (r"$[1,2]$", r"\boxed{[1,2]}"), (r"$x>5$", r"\boxed{x>5}"), (r"$x^2$", r"\boxed{x^2}"),
]


# Each template below is filled this many times its own count.
SCALE = 3


def number(low, high):
    return chance.randint(low, high)


def generated():
    """Pairs with seeded numbers in the notations of word problems, competitions and geometry."""
    for _ in range(60 * SCALE):  # Word problems: a number at the end of a sentence.
        n, other = number(2, 9999), number(2, 9999)
        unit = chance.choice(["dollars", "apples", "miles", "hours", "students", "cm"])
        answer = chance.choice([n, n, other])
        text = chance.choice([
            f"So the total is {answer} {unit}.", f"#### {answer:,}", f"The answer is {answer}.", f"She has ${answer:,} left.",
            rf"Thus \boxed{{{answer}}}.", rf"Thus $\boxed{{{answer:,}\text{{ {unit}}}}}$.", f"**Answer: {answer} {unit}**",
            f"{answer - 1} + 1 = {answer}", rf"\boxed{{{answer}.00}}", f"The final answer is {answer}",
        ])
        yield f"${n}$", text
    for _ in range(120 * SCALE):  # Fractions.
        p, q, k = number(-40, 40), number(2, 30), number(2, 6)
        value = Fraction(p, q)
        spelled = [rf"\frac{{{p * k}}}{{{q * k}}}", f"{p}/{q}", rf"\dfrac{{{p}}}{{{q}}}", f"{float(value):.8f}", f"{float(value):.2f}",
                   rf"\frac{{{p + 1}}}{{{q}}}", rf"{p}\div {q}", rf"\frac{{{value.numerator}}}{{{value.denominator}}}"]
        if value > 1 and value.denominator > 1:
            whole = value.numerator // value.denominator
            spelled.append(rf"{whole}\frac{{{value.numerator - whole * value.denominator}}}{{{value.denominator}}}")
        yield rf"$\frac{{{p}}}{{{q}}}$", f"${chance.choice(spelled)}$"
    for _ in range(120 * SCALE):  # Surds, as in geometry3k.
        a, b, r = number(1, 12), number(2, 9), chance.choice([2, 3, 5, 6, 7, 10, 11, 13])
        gold = rf"\frac{{{a}\sqrt{{{r}}}}}{{{b}}}"
        answer = chance.choice([
            rf"\frac{{\sqrt{{{a * a * r}}}}}{{{b}}}", rf"\sqrt{{\frac{{{a * a * r}}}{{{b * b}}}}}", rf"\frac{{{a * r}}}{{{b}\sqrt{{{r}}}}}",
            f"{a * r ** 0.5 / b:.7f}", f"{a * r ** 0.5 / b:.2f}", rf"{a}\sqrt{{{r}}}/{b}", rf"\frac{{{a}\sqrt{r}}}{{{b}}}",
            rf"\frac{{{a + 1}\sqrt{{{r}}}}}{{{b}}}", rf"\frac{{{a}\sqrt{{{r + 1}}}}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}\sqrt{{{r}}}",
        ])
        yield f"${gold}$", rf"\boxed{{{answer}}}"
    for _ in range(100 * SCALE):  # Multiples of π.
        a, b = number(1, 30), number(1, 12)
        answer = chance.choice([rf"{a}\pi/{b}", rf"\frac{{{a}}}{{{b}}}\pi", rf"\frac{{{2 * a}\pi}}{{{2 * b}}}", rf"\frac{{\pi {a}}}{{{b}}}",
                                f"{a * 3.141592653589793 / b:.7f}", f"{a * 3.14 / b:.4f}", rf"\frac{{{a}\pi}}{{{b + 1}}}", rf"\frac{{{a}}}{{{b}}}"])
        yield rf"$\frac{{{a}\pi}}{{{b}}}$", f"${answer}$"
    for _ in range(120 * SCALE):  # Polynomials.
        a, b, c, d = (number(-6, 6) or 1 for _ in range(4))
        gold = f"({a}x+{b})({c}x+{d})".replace("+-", "-")
        middle = a * d + b * c + chance.choice([0, 0, 1])
        answer = f"{a * c}x^2+{middle}x+{b * d}".replace("+-", "-")
        yield chance.choice([(f"${gold}$", f"${answer}$"), (f"${answer}$", f"${gold}$"), (f"$y={gold}$", f"${answer}$"), (f"${gold}$", f"$f(x)={answer}$")])
    for _ in range(100 * SCALE):  # Lists, sets and points.
        values = [number(-9, 9) for _ in range(number(2, 4))]
        shuffled = values[:]
        chance.shuffle(shuffled)
        if chance.random() < 0.2:
            shuffled[0] += 1
        forms = [", ".join, lambda v: r"\{" + ",".join(v) + r"\}", lambda v: "(" + ",".join(v) + ")", lambda v: "[" + ", ".join(v) + "]"]
        yield f"${chance.choice(forms)(list(map(str, values)))}$", f"${chance.choice(forms)(list(map(str, shuffled)))}$"
    for _ in range(80 * SCALE):  # Intervals.
        a, b = sorted(chance.sample(range(-12, 13), 2))
        ends = chance.choice(["()", "[]", "(]", "[)"])
        gold = f"{ends[0]}{a},{b}{ends[1]}"
        left, right = (r"\le" if end in "[]" else "<" for end in ends)
        answer = chance.choice([gold, rf"\left{ends[0]}{a}, {b}\right{ends[1]}", rf"x\in {gold}", f"({a},{b})", f"[{a},{b}]", rf"{ends[0]}{a}.0,\frac{{{2 * b}}}{{2}}{ends[1]}"])
        yield f"${gold}$", f"${answer}$"
        yield rf"${a}{left} x{right} {b}$", f"${gold}$"
    for _ in range(80 * SCALE):  # Equations of lines and circles.
        a, b, c = number(1, 9), number(1, 9), number(-9, 9)
        gold = f"{a}x+{b}y={c}"
        answer = chance.choice([f"{b}y+{a}x={c}", f"{a}x+{b}y-({c})=0", f"{2 * a}x+{2 * b}y={2 * c}", f"{a}x-{b}y={c}", f"{a}x={c}-{b}y", f"{c}={a}x+{b}y"])
        yield f"${gold}$", f"${answer}$"
    for _ in range(60 * SCALE):  # Matrices.
        rows = [[number(-9, 9) for _ in range(2)] for _ in range(number(1, 3))]
        other = [row[:] for row in rows]
        if chance.random() < 0.3:
            other[0][0] += 1
        form = lambda rows, kind, gap: rf"\begin{{{kind}}}" + rf"{gap}\\{gap}".join(f"{gap}&{gap}".join(map(str, row)) for row in rows) + rf"\end{{{kind}}}"
        yield f"${form(rows, 'pmatrix', '')}$", f"${form(other, chance.choice(['pmatrix', 'bmatrix']), chance.choice(['', ' ']))}$"
    for _ in range(60 * SCALE):  # Complex numbers.
        a, b = number(-9, 9), number(1, 9)
        answer = chance.choice([f"{b}i+{a}", f"{a} + {b}i", f"{a}-{b}i", f"{a}+{b + 1}i"]).replace("+-", "-")
        yield f"${a}+{b}i$", f"${answer}$"
    for _ in range(60 * SCALE):  # Percent and decimals.
        n = number(1, 400) / chance.choice([1, 2, 4, 10])
        answer = chance.choice([f"{n:g}", rf"{n:g}\%", f"{n / 100:g}", rf"{n:.2f}\%", rf"{n + 1:g}\%"])
        yield rf"${n:g}\%$", f"${answer}$"
    for _ in range(60 * SCALE):  # Powers and scientific notation.
        m, e = number(10, 99) / 10, number(-6, 9)
        answer = chance.choice([f"{Decimal(str(m)).scaleb(e):f}", rf"{m}\cdot10^{{{e}}}", rf"{m * 10:g}\times10^{{{e - 1}}}", rf"{m}\times10^{{{e + 1}}}", f"{m}E{e}"])
        yield rf"${m}\times10^{{{e}}}$", f"${answer}$"
    for _ in range(60 * SCALE):  # Multiple choice.
        gold, answer = chance.choice("ABCDE"), chance.choice("ABCDE") if chance.random() < 0.5 else None
        answer = answer or gold
        text = chance.choice([rf"\boxed{{{answer}}}", rf"\boxed{{\text{{{answer}}}}}", rf"\boxed{{\textbf{{({answer})}}}}", rf"The answer is $\text{{({answer})}}$.", rf"$\mathrm{{{answer}}}$"])
        yield rf"$\text{{{gold}}}$", text
    for _ in range(60 * SCALE):  # Logarithms, trigonometry and exponentials of numbers.
        a, b = number(2, 9), number(2, 5)
        gold, answer = chance.choice([
            (rf"\log_{{{a}}}{{{a ** b}}}", str(b)), (rf"\ln {a}+\ln {b}", rf"\ln {a * b}"), (rf"{b}\ln {a}", rf"\ln {a ** b}"), (rf"\frac{{\ln {a}}}{{\ln {b}}}", rf"\log_{{{b}}} {a}"),
            (rf"e^{{{a}}}\cdot e^{{{b}}}", f"e^{{{a + b}}}"), (rf"\sin\frac{{\pi}}{{{a}}}", rf"\cos\left(\frac{{\pi}}{{2}}-\frac{{\pi}}{{{a}}}\right)"), (rf"\sin\frac{{\pi}}{{{a}}}", rf"\cos\frac{{\pi}}{{{a}}}"),
        ])
        yield f"${gold}$", f"${answer}$"
    for _ in range(50 * SCALE):  # Binomials and factorials.
        n = number(3, 12)
        k = number(1, n - 1)
        gold, answer = chance.choice([(rf"\binom{{{n}}}{{{k}}}", rf"\binom{{{n}}}{{{n - k}}}"), (rf"\binom{{{n}}}{{{k}}}", rf"\frac{{{n}!}}{{{k}!{n - k}!}}"), (f"{n}!", rf"{n}\cdot{n - 1}!"), (f"{n}!", f"{n - 1}!")])
        yield f"${gold}$", f"${answer}$"
    for _ in range(60 * SCALE):  # Nested and ugly spacing.
        a, b, c = number(1, 20), number(1, 20), number(2, 9)
        gold = rf"\frac{{{a}+{b}\sqrt{{{c}}}}}{{{c}}}"
        answer = chance.choice([rf"\dfrac{{ {b} \sqrt{{ {c} }} + {a} }}{{ {c} }}", rf"\frac{{{a}}}{{{c}}}+\frac{{{b}}}{{\sqrt{{{c}}}}}", rf"\left(\frac{{{a}+{b}\sqrt{{{c}}}}}{{{c}}}\right)", rf"\frac{{{a}-{b}\sqrt{{{c}}}}}{{{c}}}", rf"\displaystyle\frac{{{a}+{b}\sqrt{c}}}{{{c}}}"])
        yield f"${gold}$", f"$${answer}$$"


def measured():
    """Pairs as in AIME (whole numbers of three digits), geometry3k (angles and lengths) and MathVista (readings)."""
    for _ in range(80 * SCALE):
        n = number(0, 999)
        answer = chance.choice([n, n, n, number(0, 999)])
        yield f"{n}", chance.choice([rf"\boxed{{{answer:03d}}}", rf"The answer is $\boxed{{{answer}}}$.", rf"m + n = \boxed{{{answer}}}", rf"$m+n={answer}$", f"so the answer is {answer:03d}."])
    for _ in range(80 * SCALE):
        n = chance.choice([number(1, 179), number(2, 350) / 2])
        answer = chance.choice([n, n, n, n + 1])
        yield f"${n:g}$", chance.choice([rf"\boxed{{{answer:g}^\circ}}", rf"$m\angle A={answer:g}^\circ$", rf"\boxed{{x={answer:g}}}", rf"<think>...</think><answer>{answer:g}</answer>", rf"$\boxed{{{answer:g}\text{{ units}}}}$", f"The angle is {answer:g} degrees."])
    for _ in range(80 * SCALE):
        n = number(1, 9999) / chance.choice([1, 10, 100])
        answer = chance.choice([n, n, n, n + 0.1])
        yield f"{n:g}", chance.choice([f"The answer is {answer:g}", f"{answer:g}", rf"\boxed{{{answer:g}}}", rf"\boxed{{{answer:.3f}}}", f"Answer: {answer:g}%", f"It shows {answer:g} kg."])


def verdict(gold, response):
    """The default settings, but for more time: its 5 seconds are of the clock, so a busy machine would change verdicts."""
    return bool(verify(parse(gold, parsing_timeout=60), parse(response, parsing_timeout=60), timeout_seconds=60))


def main():
    pairs = []
    for family, following in zip(FAMILIES, FAMILIES[1:] + FAMILIES[:1]):
        first = family[0]
        for a, b in itertools.combinations(family, 2):
            if a == first or chance.random() < 0.25:
                pairs.append((f"${a}$", f"${b}$"))
        pairs.extend((f"${other}$", rf"\boxed{{{first}}}") for other in family)
        pairs.append((f"${first}$", f"${following[0]}$"))
    pairs.extend((f"${a}$", f"${b}$") for a, b in PAIRS)
    pairs.extend(RESPONSES)
    pairs.extend(generated())
    pairs.extend(measured())
    pairs = list(dict.fromkeys(pairs))
    rows = [[gold, response, verdict(gold, response)] for gold, response in pairs]
    versions = {name: importlib.metadata.version(name) for name in ["math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime"]}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = pathlib.Path(__file__).with_name("math.json")
    path.write_text(f'{{"versions": {json.dumps(versions)},\n"pairs": [\n{lines}\n]}}\n', encoding="utf-8")
    print(len(rows), "pairs,", sum(row[2] for row in rows), "equal")


main()
