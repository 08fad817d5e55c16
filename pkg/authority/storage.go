package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Stats implements [Storage].
func (s *session) Stats(ctx context.Context) (Stats, error) {
	n := Stats{ByKind: map[string]int{}, ByStatus: map[string]int{}, ByRealm: map[string]int{}}
	for t, err := range s.List(ctx, token.Selector{Ended: true}) {
		if err != nil {
			return n, err
		}
		n.Tokens++
		n.ByKind[t.Kind.String()]++
		n.ByStatus[string(t.Status)]++
		n.ByRealm[t.Owner.Realm]++
	}
	for _, err := range s.ListAccounts(ctx, "", token.Owner{}) {
		if err != nil {
			return n, err
		}
		n.Accounts++
	}
	for _, err := range s.ListConnections(ctx) {
		if err != nil {
			return n, err
		}
		n.Connections++
	}
	for _, err := range s.log.List(ctx, s.store, audit.Filter{}) {
		if err != nil {
			return n, err
		}
		n.AuditLength++
	}
	return n, nil
}

// maxProblems bounds a report on a store that is damaged all over.
const maxProblems = 100

// Check implements [Storage].
func (s *session) Check(ctx context.Context, deep bool) (CheckReport, error) {
	rep := CheckReport{Problems: []string{}}
	err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "check the store", token.Auditor) })
	if err != nil {
		return rep, err
	}
	problem := func(format string, args ...any) {
		switch {
		case len(rep.Problems) < maxProblems:
			rep.Problems = append(rep.Problems, fmt.Sprintf(format, args...))
		case len(rep.Problems) == maxProblems:
			rep.Problems = append(rep.Problems, "and more")
		}
	}
	for found, err := range store.Inspect(ctx, s.store, deep, s.now) {
		if err != nil {
			return rep, err
		}
		switch {
		case found.Problem != "":
			problem("%s", found.Problem)
		case found.Index:
			rep.Indexes++
		default:
			rep.Tokens++
			if err := s.checkRecord(found.Token); err != nil {
				problem("token %s: %v", found.Token.ID, err)
			}
		}
	}
	if !deep {
		return rep, nil
	}
	for found, err := range provision.Inspect(ctx, s.store) {
		if err != nil {
			return rep, err
		}
		problem("%s", found)
	}
	for found, err := range store.InspectIdentities(ctx, s.store) {
		if err != nil {
			return rep, err
		}
		problem("%s", found)
	}
	chain, err := s.verifyLog(ctx)
	if err != nil {
		return rep, err
	}
	rep.Audit = chain.Entries
	for _, b := range chain.Broken {
		problem("audit log %s, entry %d: %s", b.Writer, b.Seq, b.What)
	}
	return rep, nil
}

// checkRecord sees to it that a token could be verified, and what an exchange
// has used up of it.
func (s *session) checkRecord(rec *token.Record) error {
	if err := s.checkFamily(rec); err != nil {
		return err
	}
	if len(rec.Verifier) == 0 {
		if rec.RevokedAt.IsZero() {
			return errors.New("it has no verifier and is not revoked")
		}
		return nil
	}
	return s.checkVerifier(rec.Verifier)
}

// checkFamily sees to it that the retry of an exchange would get what it was
// promised.
func (s *session) checkFamily(rec *token.Record) error {
	switch {
	case rec.Family == nil:
		return nil
	case rec.Kind != token.Refresh:
		return fmt.Errorf("it has secrets that exchanges rotate, and is a %s token", rec.Kind)
	case len(rec.Family.Retries) > retriesKept:
		return fmt.Errorf("it keeps %d secrets for a retry, over %d", len(rec.Family.Retries), retriesKept)
	}
	for i := range rec.Family.Retries {
		if err := s.checkRetry(rec.ID, &rec.Family.Retries[i]); err != nil {
			return fmt.Errorf("a secret that is kept for a retry: %w", err)
		}
	}
	return nil
}

func (s *session) checkRetry(id token.ID, t *token.Retry) error {
	if t.Until.IsZero() {
		return errors.New("nothing says until when it is good")
	}
	if err := s.checkVerifier(t.Verifier); err != nil {
		return err
	}
	if _, err := s.unsealSuccessor(id, t); err != nil {
		return fmt.Errorf("what took its place: %w", err)
	}
	return nil
}

// checkVerifier sees to it that the key of a verifier is in the key file.
func (s *session) checkVerifier(v secret.Verifier) error {
	number, err := v.KeyNumber()
	if err != nil {
		return err
	}
	if s.hasKey(number) || s.reloadKeys() && s.hasKey(number) {
		return nil
	}
	return fmt.Errorf("key %d is not in the key file", number)
}

func (l *Local) hasKey(number uint32) bool {
	return slices.ContainsFunc(l.keys.Numbers(), func(k keyfile.Info) bool { return k.Number == number })
}

// ListAudit implements [Log].
func (s *session) ListAudit(ctx context.Context, f audit.Filter) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "read the audit log", token.Auditor) })
		if err != nil {
			yield(audit.Entry{}, err)
			return
		}
		for _, o := range []*token.Owner{&f.Owner, &f.Actor} {
			if *o, err = s.canonicalOwner(*o); err != nil {
				yield(audit.Entry{}, err)
				return
			}
		}
		s.log.List(ctx, s.store, f)(yield)
	}
}

// VerifyAudit implements [Log].
func (s *session) VerifyAudit(ctx context.Context) (audit.Report, error) {
	err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "verify the audit log", token.Auditor) })
	if err != nil {
		return audit.Report{}, err
	}
	return s.verifyLog(ctx)
}

func (s *session) verifyLog(ctx context.Context) (rep audit.Report, err error) {
	err = s.withKeys(func() (err error) {
		rep, err = s.log.Verify(ctx, s.store)
		return err
	})
	return rep, err
}

// maintenanceBatch is how many tokens one call of [Local.Maintain] removes.
const maintenanceBatch = 500

// Backup implements [Storage].
func (s *session) Backup(ctx context.Context, w io.Writer) error {
	if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "make a backup", token.Admin) }); err != nil {
		return err
	}
	if err := s.update(ctx, func(c *change) error {
		c.note(audit.Entry{Action: "store.backup"})
		return nil
	}); err != nil {
		return err
	}
	return store.WriteBackup(ctx, s.store, w, s.clock())
}

// Maintain removes some of what policy keeps no longer: tombstones, expired
// tokens and audit entries older than the retention. It is cheap when there is
// nothing to do; more says that there is.
func (l *Local) Maintain(ctx context.Context) (more bool, err error) {
	s := &session{Local: l, caller: Caller{Via: "maintenance"}}
	var overdue []token.ID
	var before time.Time
	err = s.view(ctx, func(r store.Reader) error {
		p, err := policy(r)
		if err != nil {
			return err
		}
		before = s.clock().Add(-p.Retention)
		overdue, err = store.EndedTokens(r, before, min(maintenanceBatch, l.store.Limit()/(2*writesPerToken)))
		return err
	})
	if err != nil {
		return false, err
	}
	if len(overdue) > 0 {
		return true, s.forget(ctx, overdue, before)
	}
	if more, err = s.forgetAnswers(ctx); more || err != nil {
		return more, err
	}
	if more, err = s.forgetAttempts(ctx); more || err != nil {
		return more, err
	}
	if more, err = s.forgetEndedAccess(ctx); more || err != nil {
		return more, err
	}
	return false, l.withKeys(func() error {
		_, err := l.log.Prune(ctx, l.store, before, audit.Entry{Time: s.clock(), Via: s.caller.Via})
		return err
	})
}

func (s *session) forget(ctx context.Context, ids []token.ID, before time.Time) error {
	return s.update(ctx, func(c *change) error {
		for _, id := range ids {
			rec, err := store.GetToken(c, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			// An index has led here; only the record itself is believed.
			if end := store.End(&rec); end.IsZero() || !end.Before(before) {
				continue
			}
			c.noteToken("token.forget", &rec, "", "kept as long as policy says")
			if err := store.DeleteToken(c, &rec); err != nil {
				return err
			}
		}
		return nil
	})
}
