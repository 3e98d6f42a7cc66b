package socket

import "testing"

func TestRequestsThatAreNotAnsweredAreCounted(t *testing.T) {
	for text, want := range map[string]int{
		"pos:\t0\nSqMask:\t0x3\nSqHead:\t5\nSqTail:\t5\nCachedSqHead:\t5\nCqMask:\t0x7\nCqHead:\t2\nCqTail:\t2\nCachedCqTail:\t2\nSQEs:\t0\n": 3,
		"CachedSqHead:\t7\nCachedCqTail:\t7\n":          0,
		"CachedSqHead:\t1\nCachedCqTail:\t4294967295\n": 2,
		"CachedSqHead:\t1\nCachedCqTail:\t9\n":          -1, // one was answered often
		"CachedSqHead:\t1\n":                            -1,
		"CachedSqHead:\tx\nCachedCqTail:\t9\n":          -1,
		"":                                              -1,
	} {
		if got := begun(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
