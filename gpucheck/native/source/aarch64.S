/* Stubs for AArch64. Reference: Procedure Call Standard for the Arm 64-bit Architecture, 6.1 (registers), 6.8, 6.9.

   A stub may change x16 and x17 alone. Arguments are in x0-x7, the address of an indirect result in x8, the rest in vector
   registers and on the stack from [sp] on. Results are in x0, x1 and vector registers. calls.c is compiled without vector
   registers and calls nobody, so that these need no saving. x18 is the platform's and is not touched. */
#include "calls.h"

        .text
        .hidden stubs
        .globl  stubs
        .p2align 4
stubs:
        .set    number, 0
        .rept   STUBS
        mov     w16, #number
        b       common
        .p2align 4
        .set    number, number + 1
        .endr
        .hidden stubs_end
        .globl  stubs_end
stubs_end:

common:
        .cfi_startproc
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset x29, -16
        .cfi_offset x30, -8
        mov     x29, sp
        .cfi_def_cfa_register x29
        sub     sp, sp, #FRAME
        stp     x0, x1, [sp, #ARGUMENTS+0]
        stp     x2, x3, [sp, #ARGUMENTS+16]
        stp     x4, x5, [sp, #ARGUMENTS+32]
        stp     x6, x7, [sp, #ARGUMENTS+48]
        str     x8, [sp, #ARGUMENTS+64]
        mov     x0, sp
        mov     w1, w16
        add     x2, x29, #16
        bl      enter

        sub     sp, sp, x0              /* bytes to hand on, a multiple of 16 */
        add     x9, x29, #16
        mov     x10, sp
        add     x11, x10, x0
1:      cmp     x10, x11
        b.eq    2f
        ldp     x12, x13, [x9], #16
        stp     x12, x13, [x10], #16
        b       1b
2:      sub     x9, x29, #FRAME
        ldp     x0, x1, [x9, #ARGUMENTS+0]
        ldp     x2, x3, [x9, #ARGUMENTS+16]
        ldp     x4, x5, [x9, #ARGUMENTS+32]
        ldp     x6, x7, [x9, #ARGUMENTS+48]
        ldr     x8, [x9, #ARGUMENTS+64]
        ldr     x16, [x9, #TARGET]
        blr     x16

        sub     x9, x29, #FRAME
        mov     sp, x9
        stp     x0, x1, [sp, #RESULT]
        mov     x0, sp
        bl      leave
        ldp     x0, x1, [sp, #RESULT]
        mov     sp, x29
        ldp     x29, x30, [sp], #16
        .cfi_restore x29
        .cfi_restore x30
        .cfi_def_cfa sp, 0
        ret
        .cfi_endproc

/* int call_clock(clock, timespec, function): the kernel's vDSO is built without vector registers, gVisor's is not. */
        .arch   armv8-a                 /* ci/native.py allows the compiler no vector registers */
        .hidden call_clock
        .globl  call_clock
call_clock:
        .cfi_startproc
        stp     x29, x30, [sp, #-144]!
        .cfi_def_cfa_offset 144
        .cfi_offset x29, -144
        .cfi_offset x30, -136
        mov     x29, sp
        stp     q0, q1, [sp, #16]
        stp     q2, q3, [sp, #48]
        stp     q4, q5, [sp, #80]
        stp     q6, q7, [sp, #112]
        blr     x2
        ldp     q0, q1, [sp, #16]
        ldp     q2, q3, [sp, #48]
        ldp     q4, q5, [sp, #80]
        ldp     q6, q7, [sp, #112]
        ldp     x29, x30, [sp], #144
        .cfi_restore x29
        .cfi_restore x30
        .cfi_def_cfa_offset 0
        ret
        .cfi_endproc

        .section .note.GNU-stack, "", %progbits
