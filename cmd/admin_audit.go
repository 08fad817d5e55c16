package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminAuditCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "The audit log",
		Long: `Every change is in the audit log, written together with the change itself. The
log is a hash chain keyed from the key file: what was changed, inserted or
removed in it is found.`,
		Example: `  tokenctl admin audit list --last 20
  tokenctl admin audit verify`,
	}
	asGroup(c)
	c.AddCommand(newAdminAuditListCommand(a), newAdminAuditVerifyCommand(a))
	return c
}

type auditFlags struct {
	since, until, actor, owner, action, token string
	last                                      int
}

func (f *auditFlags) filter(now time.Time) (af audit.Filter, err error) {
	af.Action, af.Last = f.action, f.last
	if f.last < 0 {
		return af, token.Errorf(token.ErrUsage, "--last %d is below zero", f.last)
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"since", f.since, &af.Since}, {"until", f.until, &af.Until}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = parseTime(t.text, now, false); err != nil {
			return af, token.Errorf(token.ErrUsage, "--%s: %w", t.flag, err).WithHint("write 2026-01-31T12:00:00Z, 2026-01-31 (UTC), or an age such as 12h")
		}
	}
	for _, o := range []struct {
		text string
		to   *token.Owner
	}{{f.actor, &af.Actor}, {f.owner, &af.Owner}} {
		if o.text == "" {
			continue
		}
		if *o.to, err = token.ParseOwner(o.text); err != nil {
			return af, err
		}
	}
	if f.token != "" {
		if !secret.LooksLikeID(f.token) {
			return af, token.Errorf(token.ErrUsage, "--token %q is not a token id", f.token)
		}
		af.Token, err = token.ParseID(f.token)
	}
	return af, err
}

func newAdminAuditListCommand(a *app) *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the audit log",
		Long:    `List the entries of the audit log, oldest first.`,
		Example: `  tokenctl admin audit list --since 7d --action token.revoke -o jsonl`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, auditEntries, s.ListAudit(c.Context(), filter), "no entries")
		},
	}
	c.Flags().StringVar(&f.since, "since", "", "at or after a time (RFC 3339, a date, or an age such as 7d)")
	c.Flags().StringVar(&f.until, "until", "", "before a time")
	c.Flags().StringVar(&f.actor, "actor", "", "only what an account did")
	c.Flags().StringVar(&f.owner, "owner", "", "only what was done to tokens of an owner")
	c.Flags().StringVar(&f.action, "action", "", "only actions that begin so, such as token. or token.revoke")
	c.Flags().StringVar(&f.token, "token", "", "only what concerns a token id")
	c.Flags().IntVar(&f.last, "last", 0, "only the last entries")
	c.RegisterFlagCompletionFunc("actor", a.completeOwners)
	c.RegisterFlagCompletionFunc("owner", a.completeOwners)
	return c
}

func newAdminAuditVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the audit log's chain",
		Long: `Check that the audit log is whole: that nothing was changed, inserted or
removed since it was written. Exit code 1 if it was.`,
		Example: `  tokenctl admin audit verify -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			p := a.progress("checking the audit log", true)
			report, err := s.VerifyAudit(c.Context())
			p.Done()
			if err != nil {
				return err
			}
			if err := answer(c.Context(), a, auditReports, report); err != nil {
				return err
			}
			if len(report.Broken) > 0 {
				return errDamage("the audit log is broken in %d places", len(report.Broken))
			}
			return nil
		},
	}
}

// auditEntries shows entries of the audit log.
var auditEntries = render.Kind[audit.Entry]{
	Fields: func(f *render.Fields, e *audit.Entry) {
		f.Time("time", e.Time)
		f.Text("action", e.Action)
		f.Owner("actor", e.Actor)
		f.Text("via", e.Via)
		f.Owner("owner", e.Owner)
		f.ID("token", e.Token)
		f.Text("kind", e.Kind)
		f.Text("object", e.Object)
		f.Text("reason", e.Reason)
		f.Text("detail", e.Detail)
		f.Text("source", e.Source)
		f.Text("writer", e.Writer)
		f.Int("seq", int64(e.Seq))
	},
	Columns: []render.Column[audit.Entry]{
		{Header: "TIME", Text: func(e *audit.Entry) string { return e.Time.UTC().Format(time.RFC3339) }},
		{Header: "ACTION", Text: func(e *audit.Entry) string { return e.Action }},
		{Header: "ACTOR", Text: func(e *audit.Entry) string { return e.Actor.String() }},
		{Header: "OWNER", Text: func(e *audit.Entry) string { return e.Owner.String() }},
		{Header: "TOKEN", Text: func(e *audit.Entry) string {
			if e.Token.IsZero() {
				return ""
			}
			return e.Token.String()
		}},
		{Header: "OBJECT", Text: func(e *audit.Entry) string { return e.Object }, Cut: true},
		{Header: "REASON", Text: func(e *audit.Entry) string { return e.Reason }, Cut: true},
		{Header: "VIA", Wide: true, Text: func(e *audit.Entry) string { return e.Via }},
		{Header: "SOURCE", Wide: true, Text: func(e *audit.Entry) string { return e.Source }},
		{Header: "DETAIL", Wide: true, Text: func(e *audit.Entry) string { return e.Detail }},
	},
}

// auditReports shows what verifying the log has found.
var auditReports = render.Object[audit.Report]()
