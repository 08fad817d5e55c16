// Package needs says what a test needs from outside Go, and decides in one
// place what happens when it is missing.
package needs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Program returns the path of the first of the programs that is installed.
// With none the test is skipped, with the reason; under TOKENCTL_TEST_ALL=1 it
// fails.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, strings.Join(names, " or ")+" is not installed")
	return ""
}

// Missing ends a test that cannot be run here for a reason.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("TOKENCTL_TEST_ALL") == "1" {
		t.Fatalf("needed by TOKENCTL_TEST_ALL: %s", reason)
	}
	t.Skip(reason)
}
