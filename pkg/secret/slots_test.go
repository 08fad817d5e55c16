package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// Whether a check was remembered shows while all slots are held: what needs a
// slow hash is then ErrBusy.
func remembered(t *testing.T, h *secret.Hasher, use secret.Use, s secret.Secret, v secret.Verifier) bool {
	t.Helper()
	release := h.Hold()
	defer release()
	got, err := h.Check(t.Context(), use, s, v)
	switch {
	case errors.Is(err, secret.ErrBusy) && got == wrong:
		return false
	case err == nil && got.OK:
		return true
	}
	t.Fatalf("Check: %+v, %v", got, err)
	return false
}

func TestSuccessIsRemembered(t *testing.T) {
	c := &clock{time.Now()}
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Queue: -1, Now: c.Now})
	use, s := secret.Use{Kind: "service", ID: seven}, secret.FromText("aZ09bY18")
	v := mustSlow(t, h, use, s)
	expect := func(want bool, when string) {
		t.Helper()
		if remembered(t, h, use, s, v) != want {
			t.Errorf("%s: remembered is %v", when, !want)
		}
	}
	expect(false, "before the first check")
	check(t, h, use, secret.FromText("aZ09bY19"), v, wrong)
	expect(false, "after a wrong secret")
	check(t, h, use, s, v, right)
	expect(true, "after a success")
	check(t, h, use, secret.FromText("aZ09bY19"), v, wrong)
	for name, other := range map[string]func() bool{
		"secret":   func() bool { return remembered(t, h, use, secret.FromText("aZ09bY19"), v) },
		"kind":     func() bool { return remembered(t, h, secret.Use{Kind: "password", ID: seven}, s, v) },
		"id":       func() bool { return remembered(t, h, secret.Use{Kind: "service"}, s, v) },
		"name":     func() bool { return remembered(t, h, secret.Use{Kind: "service", ID: seven, Name: "x"}, s, v) },
		"verifier": func() bool { return remembered(t, h, use, s, mustSlowBefore(t, use, s)) },
	} {
		if other() {
			t.Errorf("another %s is remembered", name)
		}
	}
	c.now = c.now.Add(5*time.Minute - 1)
	expect(true, "just before 5 minutes")
	c.now = c.now.Add(1)
	expect(false, "after 5 minutes")
	check(t, h, use, s, v, right)
	expect(true, "after a new success")
	if h.RememberedCount() != 1 {
		t.Errorf("%d successes in memory, not 1", h.RememberedCount())
	}
	c.now = c.now.Add(-1)
	expect(false, "with the clock set back")
	c.now = c.now.Add(1)
	h.SetKeys(testKeys(t, 1))
	expect(false, "after SetKeys")
}

// mustSlowBefore makes a verifier with a hasher of its own.
func mustSlowBefore(t *testing.T, use secret.Use, s secret.Secret) secret.Verifier {
	return mustSlow(t, cheapHasher(t, 1), use, s)
}

// TestRememberedNeedsItsKey: a remembered success of a key that is not there
// any more is no success.
func TestRememberedNeedsItsKey(t *testing.T) {
	h := cheapHasher(t, 1)
	use, s := secret.Use{Kind: "service"}, secret.FromText("aZ09bY18")
	v := mustSlow(t, h, use, s)
	check(t, h, use, s, v, right)
	keys, err := secret.NewKeys(2, map[uint32][]byte{2: bytes.Repeat([]byte{2}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	h.SetKeys(keys)
	if got, err := h.Check(t.Context(), use, s, v); got != wrong || !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Queue: -1, MaxRemembered: 3})
	s := secret.FromText("aZ09bY18")
	var uses []secret.Use
	var verifiers []secret.Verifier
	for i := range 8 {
		uses = append(uses, secret.Use{Kind: "service", Name: fmt.Sprint(i)})
		verifiers = append(verifiers, mustSlow(t, h, uses[i], s))
		check(t, h, uses[i], s, verifiers[i], right)
		for j := range uses {
			if got, want := remembered(t, h, uses[j], s, verifiers[j]), j > i-3; got != want {
				t.Errorf("after %d: %d remembered is %v", i, j, got)
			}
		}
		if h.RememberedCount() > 3 {
			t.Errorf("%d successes in memory", h.RememberedCount())
		}
	}
}

// TestRenewedSuccessTakesNoPlaceMore: the clock is set back, so that the first
// success has to be renewed, three times. The second must not be driven out.
func TestRenewedSuccessTakesNoPlaceMore(t *testing.T) {
	c := &clock{time.Now()}
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Queue: -1, MaxRemembered: 2, Now: c.Now})
	s := secret.FromText("aZ09bY18")
	first, second := secret.Use{Kind: "service", Name: "1"}, secret.Use{Kind: "service", Name: "2"}
	v1, v2 := mustSlow(t, h, first, s), mustSlow(t, h, second, s)
	check(t, h, first, s, v1, right)
	check(t, h, second, s, v2, right)
	for range 3 {
		c.now = c.now.Add(-time.Second)
		check(t, h, first, s, v1, right)
	}
	c.now = c.now.Add(3 * time.Second)
	if !remembered(t, h, first, s, v1) || !remembered(t, h, second, s, v2) {
		t.Error("driven out")
	}
}

func TestNothingIsRememberedIfSo(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Queue: -1, Remember: -1})
	use, s := secret.Use{Kind: "service"}, secret.FromText("aZ09bY18")
	v := mustSlow(t, h, use, s)
	check(t, h, use, s, v, right)
	if remembered(t, h, use, s, v) || h.RememberedCount() != 0 {
		t.Error("remembered")
	}
}

// TestSlotsAndQueue fills both and sees who is turned away.
func TestSlotsAndQueue(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Slots: 2, Queue: 3})
	use, s := secret.Use{Kind: "service"}, secret.FromText("aZ09bY18")
	slow, fast := mustSlow(t, h, use, s), h.Fast(use, secret.FromText(hush))
	release := h.Hold()
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- h.Waste(context.Background()) }()
	}
	waitFor(t, h, 3)
	for range 100 { // being turned away must not count as waiting
		if _, err := h.Check(t.Context(), use, s, slow); !errors.Is(err, secret.ErrBusy) {
			t.Fatalf("Check: %v", err)
		}
		if _, err := h.Slow(t.Context(), use, s); !errors.Is(err, secret.ErrBusy) {
			t.Fatalf("Slow: %v", err)
		}
		if err := h.Waste(t.Context()); !errors.Is(err, secret.ErrBusy) {
			t.Fatalf("Waste: %v", err)
		}
	}
	check(t, h, use, secret.FromText(hush), fast, right)
	release()
	for range 3 {
		if err := <-done; err != nil {
			t.Errorf("one that waited: %v", err)
		}
	}
	check(t, h, use, s, slow, right)
	if h.Waiting() != 0 {
		t.Errorf("%d still wait", h.Waiting())
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Slots: 1, Queue: 1})
	use, s := secret.Use{Kind: "service"}, secret.FromText("aZ09bY18")
	v := mustSlow(t, h, use, s)
	release := h.Hold()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := h.Check(ctx, use, s, v)
		done <- err
	}()
	waitFor(t, h, 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Check: %v", err)
	}
	release()
	if h.Waiting() != 0 {
		t.Errorf("%d still wait", h.Waiting())
	}
	// Ended before: not even a free slot is taken.
	if _, err := h.Slow(ctx, use, s); !errors.Is(err, context.Canceled) {
		t.Errorf("Slow: %v", err)
	}
	if err := h.Waste(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Waste: %v", err)
	}
	h.Hold()() // would wait for ever if one of them had kept the slot
}

func waitFor(t *testing.T, h *secret.Hasher, waiting int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); h.Waiting() != waiting; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, not %d", h.Waiting(), waiting)
		}
	}
}
