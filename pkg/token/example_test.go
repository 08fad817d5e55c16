package token_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func ExampleParseOwner() {
	for _, text := range []string{"Alice", "corp/Alice", "https:/x", "idp/auth0|5f7c", "corp/alice\u200b"} {
		owner, err := token.ParseOwner(text)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(owner)
	}
	// Output:
	// local/alice
	// corp/Alice
	// https:/x
	// idp/auth0|5f7c
	// owner name "alice\u200b" holds the control or invisible character U+200B
}

func ExampleRecord_StatusAt() {
	made := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	r := token.Record{CreatedAt: made, ExpiresAt: made.Add(7 * token.Day)}
	r.SuspendedAt, r.SuspendedUntil = made, made.Add(2*token.Day)
	for days := range 9 {
		fmt.Print(r.StatusAt(made.Add(time.Duration(days)*token.Day)), " ")
	}
	// Output: suspended suspended active active active active active expired expired
}

func ExamplePolicy_LifetimeFor() {
	p := token.DefaultPolicy()
	for _, asked := range []time.Duration{0, 30 * token.Day, 400 * token.Day} {
		life, err := p.LifetimeFor(token.Refresh, asked)
		fmt.Println(token.FormatDuration(life), err)
	}
	// Output:
	// 7d <nil>
	// 30d <nil>
	// 0s lifetime 400d is over the 365d that policy allows a refresh token
}

func ExampleErrorf() {
	err := token.Errorf(token.ErrConflict, "%s already has a user token", "local/alice").WithHint("delete it first")
	var e *token.Error
	fmt.Println(err, errors.Is(err, token.ErrConflict), errors.As(err, &e), e.Hint)
	// Output: local/alice already has a user token true true delete it first
}

func ExampleIntersectRoles() {
	chosen := []token.Role{"reader", "writer"}
	fmt.Println(token.IntersectRoles(chosen, []token.Role{"writer", "operator"}))
	fmt.Println(token.IntersectRoles(chosen, []token.Role{token.Admin}))
	// Output:
	// [writer]
	// [reader writer]
}
