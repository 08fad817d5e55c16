package render_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestTable(t *testing.T) {
	wide := userToken()
	wide.Owner.Name, wide.Name = "渡辺", "e\u0301" // two columns a character; two characters in one column
	want := `
ID                KIND     NAME       SERVICE  OWNER       STATUS   EXPIRES    LAST USED
` + id1.String() + `  user     N/A        -        ldap/alice  active   never      never
` + id2.String() + `  refresh  ci-deploy  -        ldap/alice  revoked  in 3 days  2 hours ago
` + id1.String() + "  user     e\u0301          -        ldap/渡辺   active   never      never\n"
	if diff := cmp.Diff(want, "\n"+stream(t, render.Options{}, render.Tokens(), userToken(), refreshToken(), wide)); diff != "" {
		t.Error(diff)
	}
	got := stream(t, render.Options{Format: render.Wide}, render.Tokens().Without("OWNER", "SERVICE"), refreshToken())
	want = `
ID                KIND     NAME       STATUS   EXPIRES    LAST USED    LAST USED FROM  CONNECTION  ROLES                    CREATED      CREATED BY  SUSPENDED UNTIL  REVOKED       REASON
` + id2.String() + `  refresh  ci-deploy  revoked  in 3 days  2 hours ago  192.0.2.7       default     UserObserver UserEditor  2 hours ago  local/root  in 1 hour        1 minute ago  leaked, "again"
`
	if diff := cmp.Diff(want, "\n"+got); diff != "" {
		t.Error(diff)
	}
}

func TestLinesOfOneValue(t *testing.T) {
	want := `
ID:         ` + id1.String() + `
Kind:       user
Name:       N/A
Service:    -
Owner:      ldap/alice
Status:     active
Expires:    never
Last used:  never
Created:    1 hour ago (2026-11-22T06:00:00Z)
Created by: ldap/alice
`
	if diff := cmp.Diff(want, "\n"+one(t, render.Options{}, render.Tokens(), userToken())); diff != "" {
		t.Error(diff)
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	long := refreshToken()
	long.Name, long.Owner.Name, long.Service = strings.Repeat("n", 64), strings.Repeat("渡", 40), strings.Repeat("s", 20)
	for _, columns := range []int{90, 100, 130, 400} {
		text := stream(t, render.Options{Width: columns}, render.Tokens(), long, userToken())
		for row := range strings.Lines(text) {
			if w := lipgloss.Width(row); w > columns {
				t.Errorf("row of %d columns on a terminal of %d: %q", w, columns, row)
			}
		}
		if !strings.Contains(text, id2.String()) || strings.Contains(text, "…") != (columns < 200) {
			t.Errorf("on %d columns:\n%s", columns, text)
		}
	}
	for _, o := range []render.Options{{}, {Format: render.Wide, Width: 80}} {
		if text := stream(t, o, render.Tokens(), long); strings.Contains(text, "…") || !strings.Contains(text, long.Name) {
			t.Errorf("%+v is cut:\n%s", o, text)
		}
	}
}

// The widths are those of the first 1,000 rows; a wider cell after them stays whole.
func TestTableAfterItsSample(t *testing.T) {
	rows := make([]token.Token, 1002)
	for i := range rows {
		rows[i] = userToken()
	}
	rows[1000].Name, rows[1001].Name = strings.Repeat("n", 30), "four"
	lines := strings.Split(stream(t, render.Options{}, render.Tokens(), rows...), "\n")
	if len(lines) != 1004 {
		t.Fatalf("%d lines", len(lines))
	}
	if !strings.Contains(lines[1001], rows[1000].Name+"  -") || strings.Index(lines[1002], "active") != strings.Index(lines[0], "STATUS") {
		t.Errorf("rows after the sample:\n%s\n%s\n%s", lines[0], lines[1001], lines[1002])
	}
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestColourOnlyAddsToText(t *testing.T) {
	statuses := map[token.Status]string{token.Active: "32", token.Suspended: "33", token.Revoked: "31", token.Expired: "2"}
	for status, code := range statuses {
		v := userToken()
		v.Status = status
		for _, show := range []func(render.Options) string{
			func(o render.Options) string { return stream(t, o, render.Tokens(), v, refreshToken()) },
			func(o render.Options) string { return one(t, o, render.Tokens(), v) },
		} {
			plain, coloured := show(render.Options{}), show(render.Options{Colour: true})
			if diff := cmp.Diff(plain, colours.ReplaceAllString(coloured, "")); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(coloured, "\x1b["+code+"m"+string(status)+"\x1b[") {
				t.Errorf("%s has not the colour %s: %q", status, code, coloured)
			}
			if strings.Contains(plain, "\x1b") {
				t.Errorf("colour without being asked: %q", plain)
			}
		}
	}
}

func TestRelativeTime(t *testing.T) {
	for _, test := range []struct {
		in   time.Duration
		want string
	}{
		{0, "now"},
		{499 * time.Millisecond, "now"},
		{500 * time.Millisecond, "in 1 second"},
		{-499 * time.Millisecond, "now"},
		{-time.Second, "1 second ago"},
		{59*time.Second + 499*time.Millisecond, "in 59 seconds"},
		{59*time.Second + 500*time.Millisecond, "in 1 minute"},
		{-89 * time.Second, "1 minute ago"},
		{-90 * time.Second, "2 minutes ago"},
		{59*time.Minute + 29*time.Second, "in 59 minutes"},
		{59*time.Minute + 30*time.Second, "in 1 hour"},
		{-2 * time.Hour, "2 hours ago"},
		{36 * time.Hour, "in 36 hours"},
		{48*time.Hour - 31*time.Minute, "in 47 hours"},
		{48 * time.Hour, "in 2 days"},
		{3 * token.Day, "in 3 days"},
		{7*token.Day - time.Second, "in 7 days"},
		{365 * token.Day, "in 365 days"},
		{-730 * token.Day, "2 years ago"},
		{token.MaxLifetime, "in 100 years"},
		{1<<63 - 1, "in 292 years"},
		{-1 << 63, "292 years ago"},
	} {
		if got := render.RelativeTime(now.Add(test.in), now); got != test.want {
			t.Errorf("%s from now is %q, want %q", test.in, got, test.want)
		}
	}
	if got := render.RelativeTime(time.Time{}, now); got != "never" {
		t.Errorf("zero time is %q", got)
	}
	if got := render.RelativeTime(now.In(time.FixedZone("", 7200)), now); got != "now" {
		t.Errorf("the same moment in another zone is %q", got)
	}
}
