//go:build !race

package secret_test

import (
	"testing"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// The race detector makes sync.Pool lose things, so these run without it.

func TestParseDoesNotAllocate(t *testing.T) {
	good := secret.New(secret.Passcode, seven).Reveal()
	bad := good[:57] + "!"
	if n := testing.AllocsPerRun(100, func() { secret.Parse(good); secret.Parse(bad); secret.Parse(bad[:9]) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFastCheckAllocatesAtMostOnce(t *testing.T) {
	h := cheapHasher(t, 1)
	use := secret.Use{Kind: "user", ID: seven}
	s := secret.FromText(hush)
	v := h.Fast(use, s)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { h.Check(ctx, use, s, v) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
