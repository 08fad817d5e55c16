package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// purge is what the command line says of a purge.
type purge struct {
	dryRun      bool
	plan, apply string // files
	realm       string
	most        int
}

// newPurgeCommand is purge-orphans, and under another name admin purge.
func newPurgeCommand(a *app, name string) *cobra.Command {
	var p purge
	c := &cobra.Command{
		Use:   name,
		Short: "Remove the tokens of owners who are gone",
		Long: `Ask the directories about exactly the owners that have tokens, and revoke the
tokens of those who are not there any more. Each leaves a tombstone and an audit
record. Owners of the realm local are never touched, nor those of a realm that
has no directory; service accounts whose steward is gone are told of, and stay.

Nothing at all is removed while there is any doubt: a directory that cannot be
reached or gives half an answer, a canary that is missing, one owner of whom it
cannot tell (exit 6). Nor when more than a tenth of a realm's owners would go
(admin policy set purge_breaker), and more than two, unless --max-orphans allows
so many (exit 7).

What goes is what was shown. The directory is asked again before the first token
goes, and if a token has changed since, nothing is removed (exit 5). With --plan
and --apply hours may lie in between. A purge that broke off is finished by the
same command again.`,
		Example: strings.ReplaceAll(`  tokenctl purge-orphans --dry-run
  tokenctl purge-orphans --realm corp --yes -o json
  tokenctl purge-orphans --plan orphans.json
  tokenctl purge-orphans --apply orphans.json`, "purge-orphans", commandName(name)),
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := p.check(c); err != nil {
				return err
			}
			return p.run(c.Context(), a)
		},
	}
	f := c.Flags()
	f.BoolVar(&p.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	f.StringVar(&p.plan, "plan", "", "write what would be removed to a new file (0600), and remove nothing")
	f.StringVar(&p.apply, "apply", "", "remove exactly what stands in the file of a plan")
	f.IntVar(&p.most, "max-orphans", 0, "allow so many owners of one realm to be gone")
	f.StringVar(&p.realm, "realm", "", "ask only the directory of this realm")
	c.RegisterFlagCompletionFunc("realm", a.completeRealms)
	return c
}

// commandName is how examples call the command.
func commandName(name string) string {
	if name == "purge" {
		return "admin purge"
	}
	return name
}

func (p *purge) check(c *cobra.Command) error {
	for _, pair := range [][2]string{{"plan", "apply"}, {"dry-run", "apply"}, {"realm", "apply"}, {"plan", "max-orphans"}} {
		if c.Flags().Changed(pair[0]) && c.Flags().Changed(pair[1]) {
			return token.Errorf(token.ErrUsage, "--%s and --%s exclude each other", pair[0], pair[1])
		}
	}
	if c.Flags().Changed("max-orphans") && p.most <= 0 {
		return token.Errorf(token.ErrUsage, "--max-orphans %d is not a number above 0", p.most)
	}
	if _, err := os.Lstat(p.plan); p.plan != "" && err == nil {
		return errFileThere(p.plan)
	}
	return nil
}

func (p *purge) run(ctx context.Context, a *app) error {
	plan, s, err := p.find(ctx, a)
	if err != nil {
		return err
	}
	for _, s := range plan.Stewardless {
		a.say("the service account %s keeps its tokens, but has no living steward: %s (%s)", s.Account, s.Steward, s.Why)
	}
	consent := orphans.Consent{MaxOrphans: p.most}
	over := plan.Over(consent)
	if p.plan != "" {
		if err := writePlan(p.plan, plan); err != nil {
			return err
		}
		a.say("%s of %s would be removed; the plan is in %s", tokens(plan.Tokens()), owners(len(plan.Orphans)), p.plan)
	}
	if p.plan != "" || p.dryRun {
		if over != nil {
			a.complain("a purge would stop: %v", over)
		}
		if p.plan != "" && !p.dryRun {
			return nil
		}
		return answerPlan(ctx, a, plan)
	}
	if over != nil {
		return over
	}
	if plan.Tokens() > 0 {
		if err := askPurge(ctx, a, plan); err != nil {
			return err
		}
	}
	return apply(ctx, a, s, plan, consent)
}

// find is the plan: what a file says, or what the directories say now.
func (p *purge) find(ctx context.Context, a *app) (plan orphans.Plan, s orphans.Service, err error) {
	if p.apply != "" {
		if plan, err = readPlan(p.apply); err != nil {
			return plan, nil, err
		}
	}
	if s, err = a.orphans(ctx); err != nil || p.apply != "" {
		return plan, s, err
	}
	asked, done := a.counting("owners asked about", "the server asks its directories, seconds")
	defer done()
	plan, err = s.Find(ctx, orphans.Query{Realm: p.realm, Progress: asked})
	return plan, s, err
}

// counting is a progress line, and how it is told. A server tells of nothing
// until it has done all: there the seconds are counted, under another label.
func (a *app) counting(label, atServer string) (add func(int), done func()) {
	if a.held != nil {
		p := a.progress(label, true)
		return p.Add, p.Done
	}
	p := a.progress(atServer, true)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.Add(1)
			}
		}
	}()
	return func(int) {}, func() { stop(); p.Done() }
}

// askPurge shows what goes and asks.
func askPurge(ctx context.Context, a *app, plan orphans.Plan) error {
	if a.showsBefore() {
		o := render.Options{Format: render.Table, Now: time.Now(), Width: terminal.Width(a.stderr, a.env)}
		if _, err := render.Stream(ctx, a.stderr, o, orphanKind(), all(plan.Orphans)); err != nil {
			return err
		}
	}
	var realms []string
	for _, r := range plan.Realms {
		if r.Orphans > 0 {
			realms = append(realms, fmt.Sprintf("%d of %s in %s", r.Orphans, owners(r.Asked), r.Name))
		}
	}
	return a.confirm(fmt.Sprintf("remove %s of owners who are gone (%s)?", tokens(plan.Tokens()), strings.Join(realms, ", ")))
}

func apply(ctx context.Context, a *app, s orphans.Service, plan orphans.Plan, consent orphans.Consent) error {
	rep := orphans.Report{Plan: plan.Digest, Realms: []orphans.Purged{}, Stewardless: plan.Stewardless}
	for _, r := range plan.Realms {
		rep.Realms = append(rep.Realms, orphans.Purged{Realm: r.Name, Asked: r.Asked})
	}
	if plan.Tokens() > 0 {
		removed, done := a.counting("tokens removed", "the server removes tokens, seconds")
		consent.Progress = removed
		var err error
		rep, err = s.Purge(ctx, plan, consent)
		done()
		if err != nil {
			return err
		}
	}
	for _, r := range rep.Realms {
		a.say("%s: %s asked about, %s of %s removed", r.Realm, owners(r.Asked), tokens(r.Tokens), owners(r.Owners))
	}
	if !a.settings.FormatSet() {
		return nil
	}
	return answer(ctx, a, render.Object[orphans.Report](), rep)
}

func tokens(n int) string { return several(n, "token") }
func owners(n int) string { return several(n, "owner") }

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// answerPlan writes a plan to stdout: the orphans for people, the whole of it
// for programs.
func answerPlan(ctx context.Context, a *app, plan orphans.Plan) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	switch {
	case o.JQ != "":
	case o.Format == render.Table, o.Format == render.Wide, o.Format == render.CSV, o.Format == render.Name:
		return answerList(ctx, a, orphanKind(), all(plan.Orphans), "no orphans")
	}
	return render.One(ctx, a.stdout, o, render.Object[orphans.Plan](), plan)
}

// orphanKind shows owners whose tokens would go.
func orphanKind() render.Kind[orphans.Orphan] {
	type orphan = orphans.Orphan
	owner := func(o *orphan) string { return o.Owner.String() }
	ids := func(o *orphan) string {
		var list []string
		for _, t := range o.Tokens {
			list = append(list, t.ID.String())
		}
		return strings.Join(list, " ")
	}
	return render.Kind[orphan]{
		Fields: func(f *render.Fields, o *orphan) {
			f.Owner("owner", o.Owner)
			f.Int("tokens", int64(len(o.Tokens)))
			f.Text("ids", ids(o))
			f.Text("why", o.Why)
		},
		Columns: []render.Column[orphan]{
			{Header: "OWNER", Text: owner},
			{Header: "TOKENS", Text: func(o *orphan) string { return fmt.Sprint(len(o.Tokens)) }},
			{Header: "IDS", Text: ids, Wide: true},
			{Header: "WHY", Text: func(o *orphan) string { return o.Why }, Cut: true},
		},
		Name: owner,
	}
}

func writePlan(path string, plan orphans.Plan) error {
	return toNewFile(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return written(enc.Encode(plan))
	})
}

// largestPlan bounds the file of a plan, in bytes.
const largestPlan = 256 << 20

func readPlan(path string) (orphans.Plan, error) {
	info, err := os.Stat(path)
	var text []byte
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file", path)
	case info.Size() > largestPlan:
		err = fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), largestPlan)
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return orphans.Plan{}, token.Errorf(token.ErrUsage, "the plan cannot be read: %w", err)
	}
	return orphans.ReadPlan(text)
}
