"""Lens formulas as expressions: written with operators, stored as Kibana wants them.

Kibana evaluates not a formula's text but its parts: one hidden column an aggregation, and one of arithmetic over them. Both
are made here from one expression, so they cannot differ. Every ratio is an expression over sums or counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class Expression:
    """Arithmetic. A number stands for itself."""

    def __add__(self, other):
        return Call("add", [self, lift(other)])

    def __radd__(self, other):
        return Call("add", [lift(other), self])

    def __sub__(self, other):
        return Call("subtract", [self, lift(other)])

    def __rsub__(self, other):
        return Call("subtract", [lift(other), self])

    def __mul__(self, other):
        return Call("multiply", [self, lift(other)])

    def __rmul__(self, other):
        return Call("multiply", [lift(other), self])

    def __truediv__(self, other):
        return Call("divide", [self, lift(other)])


@dataclass(frozen=True)
class Number(Expression):
    value: float

    def text(self) -> str:
        return repr(self.value)

    def parts(self) -> list[Part]:
        return []

    def ast(self, names: dict[Part, str]):
        return self.value


@dataclass(frozen=True)
class Part(Expression):
    """An aggregation: `sum(counts.correct)`, or `count(kql='outcome.correct: true')`."""

    operation: str
    source: str = "___records___"
    kql: str = ""

    def text(self) -> str:
        arguments = [] if self.operation == "count" else [self.source]
        if self.kql:
            arguments.append(f"kql='{self.kql}'")
        return f"{self.operation}({', '.join(arguments)})"

    def parts(self) -> list[Part]:
        return [self]

    def ast(self, names: dict[Part, str]):
        return names[self]


INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


@dataclass(frozen=True)
class Call(Expression):
    """An operator, or a function such as `sqrt`."""

    name: str
    arguments: list = field(hash=False)

    def text(self) -> str:
        texts = [argument.text() for argument in self.arguments]
        if self.name not in INFIX:
            return f"{self.name}({', '.join(texts)})"
        # Parentheses around every operand that is itself an operation: nobody has to know the precedences.
        inner = [
            f"({text})" if isinstance(argument, Call) and argument.name in INFIX else text
            for argument, text in zip(self.arguments, texts)
        ]
        return f" {INFIX[self.name]} ".join(inner)

    def parts(self) -> list[Part]:
        return [part for argument in self.arguments for part in argument.parts()]

    def ast(self, names: dict[Part, str]):
        arguments = [argument.ast(names) for argument in self.arguments]
        return {"type": "function", "name": self.name, "args": arguments}


def lift(value) -> Expression:
    return value if isinstance(value, Expression) else Number(value)


def total(source: str, kql: str = "") -> Part:
    """The sum of a count."""
    return Part("sum", source, kql)


def count(kql: str = "") -> Part:
    """How many documents."""
    return Part("count", kql=kql)


def sqrt(inner: Expression) -> Call:
    return Call("sqrt", [inner])


def where_zero(value: Expression, then: Expression, otherwise: Expression) -> Call:
    """Kibana works out both; neither may divide by zero where the other is wanted."""
    return Call("ifelse", [Call("eq", [value, Number(0)]), then, otherwise])


def within_0_and_1(inner: Expression) -> Call:
    return Call("clamp", [inner, Number(0), Number(1)])


# Of a 95 % interval, as in flow/quality/intervals.rs; twelve digits, which every reader of JSON gives back exactly.
Z = 1.95996398454
Z2 = 3.84145882069


def wilson(hits: Expression, trials: Expression, sign: int) -> Expression:
    """An end of Wilson's 95 % interval of a proportion: `sign` is -1 (low) or 1 (high)."""
    middle = hits + round(Z2 / 2, 11)
    reach = Z * sqrt(hits * (trials - hits) / trials + round(Z2 / 4, 11))
    return within_0_and_1((middle - reach if sign < 0 else middle + reach) / (trials + Z2))
