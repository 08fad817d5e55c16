package audit_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func Example() {
	ctx, now := context.Background(), time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	s, log := memory.New(), audit.New(keyfile.New(now), "main")
	alice := token.Owner{Realm: "corp", Name: "alice"}

	// The entry goes into the Update that makes the change.
	err := s.Update(ctx, func(w store.Writer) error {
		if err := store.Accounts.Put(w, token.Account{Owner: alice, Kind: token.Person}); err != nil {
			return err
		}
		return log.Append(w, audit.Entry{Time: now, Via: "uid 1000", Action: "account.add", Object: alice.String()})
	})
	if err != nil {
		panic(err)
	}

	for e, err := range log.List(ctx, s, audit.Filter{Action: "account."}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Line())
	}
	report, err := log.Verify(ctx, s)
	fmt.Println(report.Entries, report.Broken, err)
	// Output:
	// 2026-11-22T07:00:00Z writer=main seq=1 action=account.add via="uid 1000" object=corp/alice
	// 1 [] <nil>
}
