package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A queryField is a parameter of a list that chooses what is in it.
type queryField[T any] struct {
	name  string
	read  func(into *T, text string) error
	write func(from *T) string // empty: not set
}

// selectorFields are the parameters that choose tokens.
var selectorFields = []queryField[token.Selector]{
	{"kind", func(s *token.Selector, v string) (err error) { s.Kind, err = token.ParseKind(v); return err }, func(s *token.Selector) string {
		if s.Kind == 0 {
			return ""
		}
		return s.Kind.String()
	}},
	ownerField("owner", func(s *token.Selector) *token.Owner { return &s.Owner }),
	nameField("realm", func(s *token.Selector) *string { return &s.Realm }),
	nameField("service", func(s *token.Selector) *string { return &s.Service }),
	nameField("connection", func(s *token.Selector) *string { return &s.Connection }),
	nameField("role", func(s *token.Selector) *string { return (*string)(&s.Role) }),
	{"status", func(s *token.Selector, v string) (err error) { s.Status, err = token.ParseStatus(v); return err }, func(s *token.Selector) string { return string(s.Status) }},
	textField("name", func(s *token.Selector) *string { return &s.Name }),
	timeField("created_after", func(s *token.Selector) *time.Time { return &s.CreatedAfter }),
	timeField("created_before", func(s *token.Selector) *time.Time { return &s.CreatedBefore }),
	timeField("expires_before", func(s *token.Selector) *time.Time { return &s.ExpiresBefore }),
	timeField("unused_since", func(s *token.Selector) *time.Time { return &s.UnusedSince }),
	boolField("never_used", func(s *token.Selector) *bool { return &s.NeverUsed }),
	boolField("ended", func(s *token.Selector) *bool { return &s.Ended }),
	idField("after", func(s *token.Selector) *token.ID { return &s.After }),
}

// filterFields are the parameters that choose entries of the audit log.
var filterFields = []queryField[audit.Filter]{
	timeField("since", func(f *audit.Filter) *time.Time { return &f.Since }),
	timeField("until", func(f *audit.Filter) *time.Time { return &f.Until }),
	ownerField("actor", func(f *audit.Filter) *token.Owner { return &f.Actor }),
	ownerField("owner", func(f *audit.Filter) *token.Owner { return &f.Owner }),
	textField("action", func(f *audit.Filter) *string { return &f.Action }),
	idField("token_id", func(f *audit.Filter) *token.ID { return &f.Token }),
	{"last", func(f *audit.Filter, v string) (err error) { f.Last, err = count("last", v); return err }, func(f *audit.Filter) string { return unlessZero(f.Last) }},
	{"after", func(f *audit.Filter, v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return badParameter("after", v, "is not the number of an entry")
		}
		f.After = n
		return nil
	}, func(f *audit.Filter) string { return unlessZero(f.After) }},
}

func unlessZero[N int | uint64](n N) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// count reads a number of things.
func count(name, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, badParameter(name, text, "is not a number above zero")
	}
	return n, nil
}

func badParameter(name, value, what string) error {
	return token.Errorf(token.ErrUsage, "%s %q %s", name, value, what)
}

func textField[T any](name string, field func(*T) *string) queryField[T] {
	return queryField[T]{name, func(into *T, v string) error { *field(into) = v; return nil }, func(from *T) string { return *field(from) }}
}

func nameField[T any](name string, field func(*T) *string) queryField[T] {
	return queryField[T]{name, func(into *T, v string) error { *field(into) = v; return token.CheckName(name, v) }, func(from *T) string { return *field(from) }}
}

func ownerField[T any](name string, field func(*T) *token.Owner) queryField[T] {
	return queryField[T]{name, func(into *T, v string) (err error) { *field(into), err = token.ParseOwner(v); return err }, func(from *T) string {
		if o := *field(from); !o.IsZero() {
			return o.String()
		}
		return ""
	}}
}

func idField[T any](name string, field func(*T) *token.ID) queryField[T] {
	return queryField[T]{name, func(into *T, v string) (err error) { *field(into), err = parseID(v); return err }, func(from *T) string {
		if id := *field(from); !id.IsZero() {
			return id.String()
		}
		return ""
	}}
}

func parseID(text string) (token.ID, error) {
	id, err := token.ParseID(text)
	if err != nil || id.IsZero() {
		return id, token.Errorf(token.ErrUsage, "%q is not the id of a token", text)
	}
	return id, nil
}

// timeField takes RFC 3339 or a date, which is its midnight in UTC. The zero
// time, which would stand for no limit at all, is no time.
func timeField[T any](name string, field func(*T) *time.Time) queryField[T] {
	return queryField[T]{name, func(into *T, v string) (err error) { *field(into), err = parseTime(name, v); return err }, func(from *T) string {
		if t := *field(from); !t.IsZero() {
			return t.UTC().Format(time.RFC3339Nano)
		}
		return ""
	}}
}

func parseTime(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse(time.DateOnly, text)
	}
	if t = t.UTC(); err != nil || t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}, token.Errorf(token.ErrUsage, "%s %q is not a time", name, text).WithHint("write 2026-01-31T12:00:00Z or 2026-01-31 (UTC)")
	}
	return t, nil
}

func boolField[T any](name string, field func(*T) *bool) queryField[T] {
	return queryField[T]{name, func(into *T, v string) (err error) { *field(into), err = parseBool(name, v); return err }, func(from *T) string {
		if *field(from) {
			return "true"
		}
		return ""
	}}
}

func parseBool(name, text string) (bool, error) {
	if text != "true" && text != "false" {
		return false, badParameter(name, text, "is not true or false")
	}
	return text == "true", nil
}

// readQuery reads the parameters of a list; others are those that it takes
// beside the fields. What is unknown, empty or there twice is an error: nobody
// shall get another choice than they meant.
func readQuery[T any](q url.Values, fields []queryField[T], others ...string) (v T, err error) {
	if err := checkQuery(q, func(name string) bool {
		return slices.Contains(others, name) || slices.ContainsFunc(fields, func(f queryField[T]) bool { return f.name == name })
	}); err != nil {
		return v, err
	}
	for _, f := range fields {
		if q.Has(f.name) {
			if err := f.read(&v, q.Get(f.name)); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

func checkQuery(q url.Values, known func(string) bool) error {
	for name, values := range q {
		switch {
		case !known(name):
			return token.Errorf(token.ErrUsage, "unknown parameter %q", name)
		case len(values) > 1:
			return errRepeated(name, len(values))
		case values[0] == "":
			return token.Errorf(token.ErrUsage, "the parameter %q is empty", name)
		}
	}
	return nil
}

func errRepeated(name string, times int) error {
	return token.Errorf(token.ErrUsage, "the parameter %q is there %d times", name, times)
}

func writeQuery[T any](v T, fields []queryField[T]) url.Values {
	q := url.Values{}
	for _, f := range fields {
		if text := f.write(&v); text != "" {
			q.Set(f.name, text)
		}
	}
	return q
}

// allOwners chooses tokens of everybody. Without it, and without an owner or a
// realm, the caller's own are meant.
const allOwners = "all_owners"

// readSelector reads what chooses tokens, for a caller.
func readSelector(q url.Values, me token.Owner, others ...string) (token.Selector, error) {
	s, err := readQuery(q, selectorFields, append(others, allOwners)...)
	if err != nil {
		return s, err
	}
	all := false
	if q.Has(allOwners) {
		if all, err = parseBool(allOwners, q.Get(allOwners)); err != nil {
			return s, err
		}
	}
	switch {
	case all && !s.Owner.IsZero():
		return s, token.Errorf(token.ErrUsage, "owner and all_owners exclude each other")
	case !all && s.Owner.IsZero() && s.Realm == "":
		s.Owner = me
	}
	return s, s.Check()
}

func writeSelector(s token.Selector) url.Values {
	q := writeQuery(s, selectorFields)
	if s.Owner.IsZero() {
		q.Set(allOwners, "true")
	}
	return q
}

// wireSelector is what chooses tokens as the body of a request has it.
type wireSelector struct {
	Kind          *string `json:"kind"`
	Owner         *string `json:"owner"`
	Realm         *string `json:"realm"`
	Service       *string `json:"service"`
	Connection    *string `json:"connection"`
	Role          *string `json:"role"`
	Status        *string `json:"status"`
	Name          *string `json:"name"`
	CreatedAfter  *string `json:"created_after"`
	CreatedBefore *string `json:"created_before"`
	ExpiresBefore *string `json:"expires_before"`
	UnusedSince   *string `json:"unused_since"`
	NeverUsed     bool    `json:"never_used"`
	AllOwners     bool    `json:"all_owners"`
}

// values are the same as parameters.
func (s *wireSelector) values() url.Values {
	q := url.Values{}
	for name, text := range map[string]*string{
		"kind": s.Kind, "owner": s.Owner, "realm": s.Realm, "service": s.Service, "connection": s.Connection, "role": s.Role,
		"status": s.Status, "name": s.Name, "created_after": s.CreatedAfter, "created_before": s.CreatedBefore,
		"expires_before": s.ExpiresBefore, "unused_since": s.UnusedSince,
	} {
		if text != nil {
			q.Set(name, *text)
		}
	}
	for name, set := range map[string]bool{"never_used": s.NeverUsed, allOwners: s.AllOwners} {
		if set {
			q.Set(name, "true")
		}
	}
	return q
}
