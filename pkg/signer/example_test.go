package signer_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func Example() {
	ctx, now := context.Background(), time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	s, keys := memory.New(), signer.New(keyfile.New(now))

	// Keys are made outside of the Update that puts them in.
	active, err := keys.Generate(token.EdDSA, now)
	if err != nil {
		panic(err)
	}
	next, err := keys.Generate(token.EdDSA, now)
	if err != nil {
		panic(err)
	}
	err = s.Update(ctx, func(w store.Writer) error {
		_, err := keys.Install(w, active, next, now)
		return err
	})
	if err != nil {
		panic(err)
	}

	err = s.View(ctx, func(r store.Reader) error {
		jwt, err := keys.Sign(r, token.EdDSA, signer.Claims{
			Issuer: "https://tokens.example.org", Subject: "local/alice", Audience: "urn:tokenctl:default",
			ID: "06bxh7m4q0w8s2d4", ClientID: "default",
			IssuedAt: now, ExpiresAt: now.Add(time.Hour),
			RoleClaim: token.DefaultRoleClaim, Roles: []token.Role{"deploy"},
		})
		if err != nil {
			return err
		}
		c, err := keys.Check(r, jwt, now.Add(time.Minute))
		fmt.Println(c.Subject, c.Roles, err)
		_, err = keys.Check(r, jwt, now.Add(time.Hour))
		fmt.Println(err)
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Output:
	// local/alice [deploy] <nil>
	// the access token has expired: it ended at 2026-11-22T08:00:00Z
}
