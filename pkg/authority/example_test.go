package authority_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func Example() {
	ctx := context.Background()
	local := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(time.Now())})
	alice := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "alice"}, Via: "uid 1000", FileOwner: true})

	// Alice gets a user token. Its passcode is shown now and never again.
	issued, err := alice.Generate(ctx, token.Spec{Kind: token.User})
	if err != nil {
		log.Fatal(err)
	}

	// Whoever shows it stands for her.
	shown := authority.Presented{
		Credential: secret.FromText(issued.Token.ID.String() + ":" + issued.Secret.Reveal()),
		Kinds:      []token.Kind{token.User},
	}
	identity, err := local.Verify(ctx, shown)
	fmt.Println(identity.Kind, identity.Owner, identity.Roles, err)

	// Once it is revoked, the next question is refused.
	if err := alice.Revoke(ctx, []token.Ref{issued.Token.Ref()}, "laptop lost"); err != nil {
		log.Fatal(err)
	}
	_, err = local.Verify(ctx, shown)
	fmt.Println(err, errors.Is(err, token.ErrRefused))

	// Only an administrator is told why.
	why, err := alice.Explain(ctx, shown.Credential)
	fmt.Println(why.Reason, err)
	// Output:
	// user local/alice [tokenctl:admin] <nil>
	// credential not accepted true
	// revoked <nil>
}

func ExampleTokens_exchange() {
	ctx := context.Background()
	local := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(time.Now())})
	alice := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "alice"}, FileOwner: true})

	ci, err := alice.Generate(ctx, token.Spec{Kind: token.Refresh, Name: "ci", Roles: []token.Role{"reader", "writer"}})
	if err != nil {
		log.Fatal(err)
	}
	access, err := alice.Exchange(ctx, authority.Exchange{RefreshToken: ci.Secret, Roles: []token.Role{"reader"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(access.ExpiresIn, access.Roles)

	identity, err := local.Verify(ctx, authority.Presented{Credential: access.Text, Kinds: []token.Kind{token.Access}})
	fmt.Println(identity.Kind, identity.Owner, identity.Connection, identity.Roles, err)
	// Output:
	// 1h0m0s [reader]
	// access local/alice default [reader] <nil>
}

// A secret that could not be handed over is taken back, so that nobody is left
// with a live token that nobody saw.
func ExampleTokens_takeBack() {
	ctx := context.Background()
	local := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(time.Now())})
	alice := local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "alice"}, FileOwner: true})

	issued, err := alice.Generate(ctx, token.Spec{Kind: token.User})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(alice.TakeBack(ctx, issued.Token.Ref()))
	_, err = alice.Get(ctx, issued.Token.ID)
	fmt.Println(errors.Is(err, token.ErrNotFound))
	// Output:
	// <nil>
	// true
}
