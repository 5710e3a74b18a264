/* What calls.c and the assembly agree on. */
#define STUBS 2048    /* one for each function that is watched */
#define STUB_SIZE 16  /* bytes between two stubs */
#define STACKED 512   /* bytes of arguments on the stack that a stub hands on */

/* struct frame: its room, and where in it are the result, the function to call and the argument registers. */
#define FRAME 128
#define RESULT 0
#define TARGET 16
#define ARGUMENTS 24
