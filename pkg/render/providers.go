package render

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Providers shows identity providers. As JSON they have the certificates
// themselves, DER in base64; people see whose they are, and their SHA-256.
func Providers() Kind[token.Provider] {
	type provider = token.Provider
	name := func(p *provider) string { return p.Name }
	return Kind[provider]{
		Fields: providerFields,
		Columns: []Column[provider]{
			{Header: "NAME", Text: name},
			{Header: "STATUS", Text: providerStatus, Tone: func(p *provider) Tone { return yesNoTone(!p.Disabled) }},
			{Header: "ISSUER", Text: func(p *provider) string { return p.Issuer }, Cut: true},
			{Header: "AUDIENCES", Text: func(p *provider) string { return strings.Join(p.Audiences, " ") }, Cut: true},
			{Header: "KEYS", Text: providerKeys, Cut: true},
			{Header: "UNLINKED", Text: func(p *provider) string { return yesNo(p.Unlinked) }},
			{Header: "CLAIM", Text: func(p *provider) string { return p.Claim }, Wide: true},
			{Header: "ROLE CLAIM", Text: func(p *provider) string { return p.RoleClaim }, Wide: true},
			{Header: "ROLE MAP", Text: providerRoleMap, Wide: true},
			{Header: "REQUIRED", Text: providerRequire, Wide: true},
			{Header: "CLIENT ID", Text: func(p *provider) string { return p.ClientID }, Wide: true},
			{Header: "ALGORITHMS", Text: func(p *provider) string { return strings.Join(algorithmTexts(p), " ") }, Wide: true},
			{Header: "CERTIFICATES", Text: providerCertificates, Wide: true},
			{Header: "LEEWAY", Text: providerLeeway, Wide: true},
			{Header: "CREATED", Time: func(p *provider) time.Time { return p.CreatedAt }, Wide: true},
			{Header: "CREATED BY", Text: func(p *provider) string { return p.CreatedBy.String() }, Wide: true},
		},
		Name: name,
	}
}

func providerFields(f *Fields, p *token.Provider) {
	certificates := make([]string, len(p.Certificates))
	for i, der := range p.Certificates {
		certificates[i] = base64.StdEncoding.EncodeToString(der)
	}
	f.Text("name", p.Name)
	f.Text("status", providerStatus(p))
	f.Text("issuer", p.Issuer)
	f.Texts("audiences", p.Audiences)
	f.Text("jwks_url", p.JWKSURL)
	f.Texts("certificates", certificates)
	f.Texts("algorithms", algorithmTexts(p))
	f.Text("claim", p.Claim)
	f.Text("role_claim", p.RoleClaim)
	f.Objects("role_map", len(p.RoleMap), func(f *Fields, i int) {
		f.Text("from", p.RoleMap[i].From)
		f.Text("role", string(p.RoleMap[i].Role))
	})
	f.Objects("require", len(p.Require), func(f *Fields, i int) {
		f.Text("claim", p.Require[i].Claim)
		f.Text("value", p.Require[i].Value)
	})
	f.Bool("unlinked", p.Unlinked)
	f.Text("client_id", p.ClientID)
	f.Text("leeway", providerLeeway(p))
	f.Time("created_at", p.CreatedAt)
	f.Owner("created_by", p.CreatedBy)
}

func providerStatus(p *token.Provider) string {
	if p.Disabled {
		return "disabled"
	}
	return "enabled"
}

// providerKeys says where the keys of a provider come from.
func providerKeys(p *token.Provider) string {
	switch n := len(p.Certificates); {
	case p.JWKSURL != "":
		return p.JWKSURL
	case n == 1:
		return "1 certificate"
	case n > 1:
		return fmt.Sprintf("%d certificates", n)
	}
	return "by the issuer"
}

func providerRoleMap(p *token.Provider) string {
	texts := make([]string, len(p.RoleMap))
	for i, m := range p.RoleMap {
		texts[i] = fmt.Sprintf("%q=%s", m.From, m.Role)
	}
	return strings.Join(texts, " ")
}

func providerRequire(p *token.Provider) string {
	texts := make([]string, len(p.Require))
	for i, r := range p.Require {
		texts[i] = fmt.Sprintf("%q=%q", r.Claim, r.Value)
	}
	return strings.Join(texts, " ")
}

func providerLeeway(p *token.Provider) string { return token.FormatDuration(p.Leeway) }

func algorithmTexts(p *token.Provider) []string {
	texts := make([]string, len(p.Algorithms))
	for i, a := range p.Algorithms {
		texts[i] = string(a)
	}
	return texts
}

// providerCertificates names the certificates of a provider, without the bytes.
func providerCertificates(p *token.Provider) string {
	texts := make([]string, len(p.Certificates))
	for i, der := range p.Certificates {
		subject := "unreadable"
		if c, err := x509.ParseCertificate(der); err == nil {
			subject = c.Subject.String()
		}
		texts[i] = fmt.Sprintf("%s (sha256 %x)", subject, sha256.Sum256(der))
	}
	return strings.Join(texts, "; ")
}

// JWTExplanation writes what the checks find of a JWT: as JSON and the like one
// object, else a list of the findings.
func JWTExplanation(ctx context.Context, w io.Writer, o Options, e authority.JWTExplanation) error {
	if _, is := o.Format.template(); is || o.wantsJSON() || o.Format == YAML {
		return One(ctx, w, o, Kind[authority.JWTExplanation]{Fields: explanationFields}, e)
	}
	_, err := Stream(ctx, w, o, findings(), func(yield func(token.Finding, error) bool) {
		for _, f := range e.Findings {
			if !yield(f, nil) {
				return
			}
		}
	})
	return err
}

func explanationFields(f *Fields, e *authority.JWTExplanation) {
	f.Bool("accepted", e.Accepted)
	f.Bool("cannot_tell", e.CannotTell)
	f.Text("provider", e.Provider)
	f.Owner("owner", e.Owner)
	f.Roles("roles", e.Roles)
	f.Objects("findings", len(e.Findings), func(f *Fields, i int) { findingFields(f, &e.Findings[i]) })
}

func findingFields(f *Fields, v *token.Finding) {
	f.Text("check", v.Check)
	f.Bool("ok", v.OK)
	f.Text("text", v.Text)
}

func findings() Kind[token.Finding] {
	type finding = token.Finding
	return Kind[finding]{
		Fields: findingFields,
		Columns: []Column[finding]{
			{Header: "CHECK", Text: func(f *finding) string { return f.Check }},
			{Header: "RESULT", Tone: func(f *finding) Tone { return yesNoTone(f.OK) }, Text: func(f *finding) string {
				if f.OK {
					return "OK"
				}
				return "FAILED"
			}},
			{Header: "FINDING", Text: func(f *finding) string { return f.Text }},
		},
		Name: func(f *finding) string { return f.Check },
	}
}

// identityFields are an external identity of an account.
func identityFields(f *Fields, i *token.LinkedIdentity) {
	f.Text("issuer", i.Issuer)
	f.Text("claim", i.Claim)
	f.Text("subject", i.Subject)
	f.Roles("roles", i.Roles)
	f.Time("roles_until", i.RolesUntil)
}

// identityTexts names the external identities of an account.
func identityTexts(a *token.Account) string {
	texts := make([]string, len(a.Identities))
	for i, id := range a.Identities {
		texts[i] = fmt.Sprintf("%s %q of %s", id.Claim, id.Subject, id.Issuer)
	}
	return strings.Join(texts, "; ")
}
