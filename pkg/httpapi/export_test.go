package httpapi

import "strings"

// Problem is one row of the table of errors.
type Problem struct {
	Kind   error
	Code   string
	Status int
}

// Problems are the rows of the table of errors.
func Problems() (all []Problem) {
	for _, p := range problems {
		all = append(all, Problem{p.kind, p.code, p.status})
	}
	return all
}

// Routes are the routes of the management API, as method and path.
func Routes() (all []string) {
	for _, r := range (&handler{}).apiTable() {
		all = append(all, r.method+" "+apiPath+strings.ReplaceAll(r.path, "...}", "}"))
	}
	return all
}
