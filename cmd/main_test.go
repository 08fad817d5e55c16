package cmd_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokenctl/tokenctl/cmd"
	"github.com/tokenctl/tokenctl/testdata/oidc"
)

// TestMain makes the test program itself a tokenctl: a copy of it under that
// name comes first on PATH, so that scripts and shells can start it, and so
// that what they run counts as covered.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tokenctl": func() { os.Exit(cmd.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		// What $BROWSER names: alice, who logs in wherever she is sent.
		"alices-browser": func() {
			if _, err := oidc.Person("alice", os.Args[1]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		},
	})
}
