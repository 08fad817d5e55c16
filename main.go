// Command tokenctl issues, verifies, exchanges and revokes disposable
// credentials that stand in for a person's real login.
package main

import (
	"os"

	"github.com/tokenctl/tokenctl/cmd"
)

//go:generate go test ./cmd -run ^TestGeneratedFilesAreFresh$ -write

func main() {
	os.Exit(cmd.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
