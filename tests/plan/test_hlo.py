"""Collectives of a program's text: kinds, loops, groups, and what a TPU's compiler hides in fusions."""

from rstar_jax.plan.hlo import Collective, collectives

TEXT = """HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%all-reduce-scatter.1 (input.1: f32[8,16]) -> f32[2,16] {
  %input.1 = f32[8,16]{1,0} parameter(0)
  %all-reduce.9 = f32[8,16]{1,0} all-reduce(%input.1), replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %slice = f32[2,16]{1,0} dynamic-slice(%all-reduce.9)
}

%body (arg: (s32[], bf16[4,4])) -> (s32[], bf16[4,4]) {
  %all-gather.2 = bf16[4,4]{1,0:T(8,128)} all-gather(%part), replica_groups=[2,2]<=[4], dimensions={0}
}

%condition (arg: (s32[], bf16[4,4])) -> pred[] {
  %limit = s32[] constant(28)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

ENTRY %main (p: bf16[4,4]) -> f32[2,16] {
  %while.1 = (s32[], bf16[4,4]) while(%tuple), condition=%condition, body=%body
  %permute = (bf16[10]{0}, bf16[10]{0}, u32[]) collective-permute-start(%x), source_target_pairs={{0,1}}
  %permute-done = bf16[10]{0} collective-permute-done(%permute)
  %sum.1 = /*index=5*/f32[100]{0} all-reduce(%y), replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %fusion = f32[2,16]{1,0} fusion(%z), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_what_a_device_sends():
    assert collectives(TEXT) == {
        "all-gather": Collective(28, 28 * 4 * 4 * 2 // 2),  # half of a result of 32 bytes, in every layer
        "all-reduce": Collective(1, 2 * 400 * 3 // 4),
        "collective-permute": Collective(1, 20),
        "reduce-scatter": Collective(1, 8 * 16 * 4 * 3 // 4),  # three quarters of what is scattered
    }


def test_a_program_of_one_device_sends_nothing():
    assert (
        collectives("HloModule alone\n\nENTRY %main () -> f32[] {\n  ROOT %x = f32[] constant(1)\n}\n") == {}
    )
