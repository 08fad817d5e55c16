package render_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A kind of value of one's own: the JSON fields, and columns for people.
func ExampleStream() {
	type entry struct {
		Seq    int64
		Time   time.Time
		Actor  token.Owner
		Action string
		Reason string
	}
	entries := render.Kind[entry]{
		Fields: func(f *render.Fields, e *entry) {
			f.Int("seq", e.Seq)
			f.Time("time", e.Time)
			f.Owner("actor", e.Actor)
			f.Text("action", e.Action)
			f.Text("reason", e.Reason)
		},
		Columns: []render.Column[entry]{
			{Header: "TIME", Time: func(e *entry) time.Time { return e.Time }},
			{Header: "ACTOR", Text: func(e *entry) string { return e.Actor.String() }},
			{Header: "ACTION", Text: func(e *entry) string { return e.Action }},
			{Header: "REASON", Text: func(e *entry) string { return e.Reason }, Cut: true},
		},
	}
	now := time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	root := token.Owner{Realm: "local", Name: "root"}
	all := []entry{
		{1, now.Add(-48 * time.Hour), root, "token.generate", ""},
		{2, now.Add(-time.Hour), root, "token.revoke", "found in a log"},
	}
	for _, format := range []render.Format{render.Table, render.CSV, render.JSONL} {
		n, err := render.Stream(context.Background(), os.Stdout, render.Options{Format: format, Now: now}, entries, list(nil, all...))
		fmt.Println(n, err)
	}
	// Output:
	// TIME        ACTOR       ACTION          REASON
	// 2 days ago  local/root  token.generate  -
	// 1 hour ago  local/root  token.revoke    found in a log
	// 2 <nil>
	// seq,time,actor,action,reason
	// 1,2026-11-20T07:00:00Z,local/root,token.generate,
	// 2,2026-11-22T06:00:00Z,local/root,token.revoke,found in a log
	// 2 <nil>
	// {"seq":1,"time":"2026-11-20T07:00:00Z","actor":"local/root","action":"token.generate","reason":null}
	// {"seq":2,"time":"2026-11-22T06:00:00Z","actor":"local/root","action":"token.revoke","reason":"found in a log"}
	// 2 <nil>
}

// A secret is shown once: what cannot be written is found out before it is made.
func ExampleCheck() {
	err := render.Check(render.Options{Format: render.JSON, JQ: ".pass_code |"}, render.Issued())
	fmt.Println(err)
	// Output: jq expression ".pass_code |": unexpected EOF
}
