// Command writer generates and revokes tokens of a store as fast as it can and
// tells on its standard output what is acknowledged, so that a test can kill it
// and see what is left:
//
//	made SECRET       the token was made
//	revoking SECRET   it is about to be revoked
//	revoked SECRET    it was revoked
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func run() error {
	store := flag.String("store", "", "the store")
	key := flag.String("key", "", "its key file")
	rounds := flag.Int("rounds", 1<<30, "how many tokens each worker makes")
	workers := flag.Int("workers", 1, "how many goroutines write at once")
	exclusive := flag.Bool("exclusive", false, "hold the lock all the time, and share commits")
	noSync := flag.Bool("no-sync", false, "leave out every fsync")
	flag.Parse()

	keys, err := keyfile.Open(*key)
	if err != nil {
		return err
	}
	s, err := bolt.Open(bolt.Options{Path: *store, Exclusive: *exclusive, NoSync: *noSync})
	if err != nil {
		return err
	}
	defer s.Close()
	owner, err := token.ParseOwner("writer")
	if err != nil {
		return err
	}
	tokens := authority.New(authority.Options{Store: s, Keys: keys}).As(authority.Caller{Owner: owner, Via: "test", FileOwner: true})
	failed := make(chan error, *workers)
	var all sync.WaitGroup
	for range *workers {
		all.Go(func() {
			if err := write(tokens, *rounds); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

// write makes tokens and revokes every second one.
func write(tokens authority.Tokens, rounds int) error {
	ctx := context.Background()
	for i := range rounds {
		issued, err := tokens.Generate(ctx, token.Spec{Kind: token.Refresh})
		if err != nil {
			return err
		}
		tell("made", issued)
		if i%2 == 0 {
			continue
		}
		tell("revoking", issued)
		if err := tokens.Revoke(ctx, []token.Ref{{ID: issued.Token.ID}}, ""); err != nil {
			return err
		}
		tell("revoked", issued)
	}
	return nil
}

// tell writes one line at once: a test reads it, or the log of its system call.
func tell(what string, issued authority.Issued) {
	os.Stdout.WriteString(what + " " + issued.Secret.Reveal() + "\n")
}
