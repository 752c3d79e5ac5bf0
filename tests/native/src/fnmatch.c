/* Answers whether libc's fnmatch(pattern, text, 0) matches, in the C locale.
   Input: pattern, NUL, text, NUL, and so on. Output: '1' or '0' for each pair. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    char *pattern = NULL, *text = NULL;
    size_t pattern_size = 0, text_size = 0;
    while (getdelim(&pattern, &pattern_size, '\0', stdin) > 0 && getdelim(&text, &text_size, '\0', stdin) > 0) {
        putchar(fnmatch(pattern, text, 0) == 0 ? '1' : '0');
        fflush(stdout);
    }
    return 0;
}
