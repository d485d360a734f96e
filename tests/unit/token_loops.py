"""Functions that take tokens in order, executed operation by operation: a referee of passes.

Integers alone, one frame; what was never written cannot be read, and a token of an argument
is taken or given only when it is the next one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, IndexType, IntegerAttr, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

Tokens = NDArray[Any]


class TokenRun:
    """One run of a function on a frame of tokens."""

    def __init__(self, module: ModuleOp, function: FuncOp, frame: Tokens, signed: bool):
        self.module, self.signed = module, signed
        self.values = dict[SSAValue, Any]()
        self.source, *self.targets = function.args
        self.frame, self.taken = frame, 0
        self.given: list[list[Tokens]] = [[] for _ in self.targets]
        self.block(function.body.block)
        assert self.taken == len(frame), "tokens are left"

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.operation(op)

    def operation(self, op: Operation) -> None:
        v = self.values
        match op:
            case affine.ForOp():
                low, high = (
                    self.places(map_.data, ())[0] for map_ in (op.lowerBoundMap, op.upperBoundMap)
                )
                for counter in range(low, high, op.step.value.data):
                    v[op.body.block.args[0]] = counter
                    self.block(op.body.block)
            case affine.IfOp():
                region = op.then_region if self.holds(op) else op.else_region
                if region.blocks:
                    self.block(region.block)
            case affine.ApplyOp():
                (v[op.result],) = self.places(op.map.data, op.mapOperands)
            case affine.LoadOp():
                v[op.result] = self.read(op.memref, self.places(op.map.data, op.indices))
            case memref.LoadOp():
                v[op.res] = self.read(op.memref, [v[index] for index in op.indices])
            case affine.StoreOp():
                v[op.memref][tuple(self.places(op.map.data, op.indices))] = v[op.value]
            case memref.AllocOp():
                v[op.memref] = {}
            case memref.GetGlobalOp():
                v[op.memref] = self.words(op.name_.string_value())
            case memref.SubviewOp():
                v[op.result] = op.source, v[op.offsets[0]]
            case memref.CopyOp():
                self.copy(op.source, op.destination)
            case affine.YieldOp() | func.ReturnOp():
                pass
            case _:
                self.scalar(op)

    def scalar(self, op: Operation) -> None:
        v, given = self.values, [self.values[operand] for operand in op.operands]
        match op:
            case arith.ConstantOp(value=IntegerAttr(value=number)):
                found = number.data
            case arith.ExtSIOp() | arith.ExtUIOp():
                assert self.signed == isinstance(op, arith.ExtSIOp) or given[0] < 2
                found = given[0]
            case arith.IndexCastOp() | arith.TruncIOp():
                found = given[0]
            case arith.CmpiOp():
                assert op.predicate.value.data == 5  # sge
                found = given[0] >= given[1]
            case arith.SelectOp():
                found = given[1] if given[0] else given[2]
            case arith.AddiOp() | arith.MuliOp():
                assert isinstance(op.results[0].type, IndexType)
                found = given[0] + given[1] if isinstance(op, arith.AddiOp) else given[0] * given[1]
            case _:
                raise AssertionError(op.name)
        v[op.results[0]] = found

    def places(self, map_: Any, operands: Sequence[SSAValue]) -> list[int]:
        dims = [self.values[operand] for operand in operands]
        return [expr.eval(dims[: map_.num_dims], dims[map_.num_dims :]) for expr in map_.results]

    def holds(self, op: affine.IfOp) -> bool:
        dims = [self.values[operand] for operand in op.args]
        tests = {">=": int.__ge__, "<=": int.__le__, "==": int.__eq__}
        for one in op.condition.data.constraints:
            if not tests[one.kind.value](one.lhs.eval(dims, []), one.rhs.eval(dims, [])):
                return False  # what comes later may be evaluated where it holds alone
        return True

    def read(self, memory: SSAValue, places: Sequence[int]) -> int:
        return self.values[memory][tuple(places)]

    def words(self, name: str) -> dict[tuple[int, ...], int]:
        for op in self.module.ops:
            if isinstance(op, memref.GlobalOp) and op.sym_name.data == name:
                assert isinstance(op.initial_value, DenseIntOrFPElementsAttr)
                numbers = list(op.initial_value.get_values())
                (count,) = op.initial_value.get_shape()
                numbers = numbers * count if len(numbers) == 1 else numbers
                return {(k,): number for k, number in enumerate(numbers) if isinstance(number, int)}
        raise AssertionError(name)

    def copy(self, source: SSAValue, target: SSAValue) -> None:
        """Copy a token; one of an argument must be the next."""
        memory, row = self.token(source)
        if memory is self.source:
            assert row in (None, self.taken), "out of order"
            token = self.frame[self.taken]
            self.taken += 1
        else:
            kept = self.values[memory]
            size = 1 + max(place[-1] for place in kept)
            token = np.array([kept[(n,) if row is None else (row, n)] for n in range(size)])
        memory, row = self.token(target)
        if memory in self.targets:
            given = self.given[[t is memory for t in self.targets].index(True)]
            assert row in (None, len(given)), "out of order"
            given.append(token)
        else:
            places = [(n,) if row is None else (row, n) for n in range(len(token))]
            self.values[memory].update(zip(places, token.tolist(), strict=True))

    def token(self, memory: SSAValue) -> tuple[SSAValue, int | None]:
        found: Any = self.values.get(memory)
        return found if isinstance(found, tuple) else (memory, None)  # pyright: ignore[reportUnknownVariableType]
