/* Stubs for x86-64. Reference: System V ABI, AMD64 supplement, 3.2 (calling sequence).

   A stub may change %r11 alone: it is the one register that no caller and no callee counts on (figure 3.4). Arguments are in
   rdi rsi rdx rcx r8 r9, the number of vector registers of a variadic call in al, a static chain in r10, the rest in vector
   registers and on the stack from 8(%rsp) on. Results are in rax, rdx, xmm0, xmm1, st0, st1. calls.c is compiled without
   vector and x87 registers, so that these need no saving, whatever their width is on this processor. */
#include "calls.h"

        .text
        .hidden stubs
        .globl  stubs
        .p2align 4
stubs:
        .set    number, 0
        .rept   STUBS
        movl    $number, %r11d
        jmp     common
        .p2align 4, 0xcc
        .set    number, number + 1
        .endr
        .hidden stubs_end
        .globl  stubs_end
stubs_end:

common:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        subq    $FRAME, %rsp
        movq    %rdi, ARGUMENTS+0(%rsp)
        movq    %rsi, ARGUMENTS+8(%rsp)
        movq    %rdx, ARGUMENTS+16(%rsp)
        movq    %rcx, ARGUMENTS+24(%rsp)
        movq    %r8, ARGUMENTS+32(%rsp)
        movq    %r9, ARGUMENTS+40(%rsp)
        movq    %rax, ARGUMENTS+48(%rsp)
        movq    %r10, ARGUMENTS+56(%rsp)
        movq    %rsp, %rdi
        movl    %r11d, %esi
        leaq    16(%rbp), %rdx
        call    enter

        movq    %rax, %rcx              /* bytes to hand on, a multiple of 16 */
        subq    %rax, %rsp
        leaq    16(%rbp), %rsi
        movq    %rsp, %rdi              /* an argument that the caller aligned to 32 or 64 bytes stays aligned (3.2.3) */
        subq    %rsi, %rdi
        andq    $63, %rdi
        subq    %rdi, %rsp
        movq    %rsp, %rdi
        shrq    $3, %rcx
        rep movsq                       /* the direction flag is clear at a call (3.2.1) */
        movq    ARGUMENTS+0-FRAME(%rbp), %rdi
        movq    ARGUMENTS+8-FRAME(%rbp), %rsi
        movq    ARGUMENTS+16-FRAME(%rbp), %rdx
        movq    ARGUMENTS+24-FRAME(%rbp), %rcx
        movq    ARGUMENTS+32-FRAME(%rbp), %r8
        movq    ARGUMENTS+40-FRAME(%rbp), %r9
        movq    ARGUMENTS+48-FRAME(%rbp), %rax
        movq    ARGUMENTS+56-FRAME(%rbp), %r10
        call    *TARGET-FRAME(%rbp)

        leaq    -FRAME(%rbp), %rsp
        movq    %rax, RESULT+0(%rsp)
        movq    %rdx, RESULT+8(%rsp)
        movq    %rsp, %rdi
        call    leave
        movq    RESULT+0(%rsp), %rax
        movq    RESULT+8(%rsp), %rdx
        leave
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc

/* int call_clock(clock, timespec, function): the kernel's vDSO is built without vector registers, gVisor's is not. */
        .hidden call_clock
        .globl  call_clock
call_clock:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        subq    $128, %rsp
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        movups  %xmm\n, 16*\n(%rsp)
        .endr
        call    *%rdx
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        movups  16*\n(%rsp), %xmm\n
        .endr
        leave
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc

        .section .note.GNU-stack, "", @progbits
