package cmd

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// generateFiles writes the files that are checked in: completion scripts and
// man pages. It stands in a test because what makes man pages costs every start
// of a program that holds it 1.5 ms.
func generateFiles(root *cobra.Command, folder string) error {
	man := filepath.Join(folder, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	for _, s := range shells {
		f, err := os.Create(filepath.Join(folder, s.file))
		if err != nil {
			return err
		}
		if err := s.write(root, f); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(man, "*.1"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true
	// A fixed date: the same commands give the same pages.
	date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return doc.GenManTree(root, &doc.GenManHeader{Title: "TOKENCTL", Section: "1", Source: "tokenctl", Manual: "tokenctl", Date: &date}, man)
}
