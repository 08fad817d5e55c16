// Package authoritytest is the suite that every [authority.Service] passes,
// local or remote: the rules of tokens and accounts, a test for each, told
// through nothing but the interfaces.
package authoritytest

import (
	"context"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
)

// Authority is a new authority over an empty store, however it is reached.
type Authority struct {
	// As gives its service as a caller has it. The caller who is the file's
	// owner comes first; all others have an account by then, but for the one
	// without an owner, who is a stranger. Owner, FileOwner, Narrowed and Roles
	// are what counts. It leaves no token, account or audit entry of its own
	// behind, for the suite counts them.
	As func(c authority.Caller) authority.Service
	// Maintain does once what a server does from time to time, and says
	// whether there is more of it to do.
	Maintain func(ctx context.Context) (more bool, err error)
}

// Run tests the authorities that open makes. The time is what now says to each
// of them, and to everything that stands between it and the suite.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) Authority) {
	for _, group := range []struct {
		name  string
		rules []rule
	}{
		{"Rights", rights},
		{"Generate", generating},
		{"Get and List", listing},
		{"Verify", verifying},
		{"Use", uses},
		{"Exchange", exchanging},
		{"Access tokens", accessTokens},
		{"Rotate", rotating},
		{"TakeBack", takingBack},
		{"Revoke, Suspend, Resume and Delete", ending},
		{"Accounts", accounts},
		{"Passwords", passwords},
		{"Rotation of refresh tokens", rotation},
		{"Services", services},
		{"Service tokens", serviceTokens},
		{"Connections and policy", settings},
		{"Identity providers", providers},
		{"Their JWTs", federated},
		{"Token exchange", exchangingSubjects},
		{"Clients", clients},
		{"Keys", keys},
		{"Log", logging},
		{"Storage", storage},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.rules {
				t.Run(r.sentence, func(t *testing.T) { r.test(newWorld(t, open)) })
			}
		})
	}
}

// A rule is a sentence that holds, and the test of it.
type rule struct {
	sentence string
	test     func(*world)
}
