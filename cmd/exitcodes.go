package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// exitBug is the exit code of a panic.
const exitBug = 70

// exits is the one table of kinds of error and their exit codes. The first kind
// that fits counts.
var exits = []struct {
	kind error
	exit int
}{
	{terminal.ErrInterrupted, 130},
	{context.Canceled, 130},
	{errQuietly, 3},
	{token.ErrUsage, 2},
	{token.ErrCannotTell, 6},
	{context.DeadlineExceeded, 6},
	{token.ErrRefused, 3},
	{token.ErrNotFound, 4},
	{token.ErrConflict, 5},
	{token.ErrUnsafe, 7},
}

// errQuietly is a refusal whose answer is on stdout already.
var errQuietly = errors.New("answered")

// ended is the exit code of a program that ran in our place, which has told
// what there was to tell.
type ended int

func (e ended) Error() string { return fmt.Sprintf("the command ended with exit code %d", int(e)) }

func kindOf(err error) error {
	for _, e := range exits {
		if errors.Is(err, e.kind) {
			return e.kind
		}
	}
	return nil
}

// report tells an error to the person, or with -o json to the program, and
// returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	var other ended
	if errors.As(err, &other) {
		return int(other)
	}
	exit := 1
	for _, e := range exits {
		if errors.Is(err, e.kind) {
			exit = e.exit
			break
		}
	}
	if errors.Is(err, errQuietly) {
		return exit
	}
	hint := ""
	var e *token.Error
	if errors.As(err, &e) {
		hint = e.Hint
	}
	if hint == "" && errors.Is(err, store.ErrOutcomeUnknown) {
		hint = "look what is there before you try again: tokenctl list, tokenctl admin audit list"
	}
	var o render.Options
	if a.settings.JSONErrors() || !a.parsed && a.jsonErrors {
		o.Format = render.JSON
	}
	render.Error(a.stderr, o, render.Failure{Exit: exit, Message: err.Error(), Hint: hint}) // nobody is left to tell
	return exit
}
