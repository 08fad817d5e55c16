package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Explain says of every check what it finds, where [Set.Judge] ends at the first
// refusal. Checks that need the result of one that failed are left out. The error
// is that of Judge.
func (s *Set) Explain(ctx context.Context, text string) ([]token.Finding, error) {
	in := inspection{set: s, text: text, said: []string{}}
	var findings []token.Finding
	var first error
	for _, c := range checks {
		in.said = in.said[:0]
		err := c.run(&in, ctx)
		if err != nil {
			findings = append(findings, token.Finding{Check: c.name, Text: err.Error()})
			if first == nil {
				first = in.explain(err)
			}
		} else {
			findings = append(findings, token.Finding{Check: c.name, OK: true, Text: strings.Join(in.said, "; ")})
		}
		if in.jwt == nil || in.provider == nil && c.name == "issuer" {
			break
		}
	}
	return findings, first
}

// Sample is what a JWT says of itself. Nothing of it is proved.
type Sample struct {
	// Provider is one that would accept such JWTs, to be looked at and confirmed
	// by a person. It has no name yet, and finds its keys by the issuer.
	Provider token.Provider
	Subject  string   // the value of sub
	Claims   []Claim  // all of the payload, by name
	Notes    []string // what stands against it, in plain words
}

// Claim is a claim as it was written.
type Claim struct{ Name, JSON string }

// ReadSample reads a JWT for the settings of the provider that it is from. It
// believes nothing and asks nobody. A text that is no JWT is token.ErrMalformed.
func ReadSample(text string) (Sample, error) {
	j, err := parse(text)
	if err != nil {
		return Sample{}, err
	}
	p := token.NewProvider("")
	p.Issuer = j.claims.issuer()
	p.Audiences, _ = j.claims.texts("aud")
	s := Sample{}
	if alg, err := token.ParseProviderAlgorithm(j.Algorithm); err != nil {
		s.Notes = append(s.Notes, err.Error())
	} else {
		p.Algorithms = []token.Algorithm{alg}
	}
	s.Subject, _ = j.claims.text("sub")
	for name, raw := range j.claims {
		s.Claims = append(s.Claims, Claim{name, compactJSON(raw)})
	}
	slices.SortFunc(s.Claims, func(a, b Claim) int { return strings.Compare(a.Name, b.Name) })

	in := inspection{jwt: j, provider: &provider{Provider: p}}
	if p.Issuer == "" {
		s.Notes = append(s.Notes, "it names no issuer (iss)")
	}
	if len(p.Audiences) == 0 {
		s.Notes = append(s.Notes, "its audience (aud) is missing or garbled")
	}
	if s.Subject == "" {
		s.Notes = append(s.Notes, "it has no sub: another claim must say who it is")
	}
	if _, err := j.claims.time("exp"); err != nil {
		s.Notes = append(s.Notes, err.Error())
	}
	if err := in.kind(context.Background()); err != nil {
		s.Notes = append(s.Notes, err.Error())
	}
	s.Provider = p
	return s, nil
}

// compactJSON is a value of JSON on one line, its numbers as they were written.
func compactJSON(raw []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// NameFor proposes a name for the provider of an issuer, by its host; empty: it
// has none that would do.
func NameFor(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	name := u.Hostname()
	if token.CheckName("provider", name) != nil || name == token.LocalRealm {
		return ""
	}
	return name
}
