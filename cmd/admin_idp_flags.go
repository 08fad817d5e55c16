package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// providerFlags are the properties of an identity provider that can be given.
type providerFlags struct {
	issuer, jwksURL, claim, roleClaim, clientID, leeway   string
	audiences, certificates, algorithms, roleMap, require []string
	unlinked, disabled, noCheck                           bool
}

// Values may hold commas, as the names of LDAP groups do: what may be repeated
// is not split at them.
func (f *providerFlags) bind(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.issuer, "issuer", "", "the iss of its JWTs, exactly as it writes it")
	c.Flags().StringArrayVar(&f.audiences, "audience", nil, "what JWTs for us have in their aud; may be repeated")
	c.Flags().StringVar(&f.jwksURL, "jwks-url", "", "where its keys are (default: found by the issuer)")
	c.Flags().StringArrayVar(&f.certificates, "certificate", nil, "a file with certificates, PEM or DER, whose keys are its keys; may be repeated")
	c.Flags().StringArrayVar(&f.algorithms, "algorithm", nil, "what it may sign with; may be repeated (default RS256, PS256, ES256 and EdDSA)")
	c.Flags().StringVar(&f.claim, "claim", "", "the claim that says who it is (default sub)")
	c.Flags().StringVar(&f.roleClaim, "role-claim", "", "the claim that --role-map reads")
	c.Flags().StringArrayVar(&f.roleMap, "role-map", nil, "VALUE=ROLE: the role that a value of the role claim stands for; may be repeated")
	c.Flags().StringArrayVar(&f.require, "require", nil, "CLAIM=VALUE: what JWTs must have; may be repeated")
	c.Flags().BoolVar(&f.unlinked, "unlinked", false, "accept subjects that no account is linked to, as NAME/SUBJECT; never without --require for an issuer that serves everybody")
	c.Flags().StringVar(&f.clientID, "client-id", "", "as which client people log in there, a public one")
	c.Flags().StringVar(&f.leeway, "leeway", "", "how far its clock and ours may differ (default 1m, at most 5m)")
	c.Flags().BoolVar(&f.disabled, "disabled", false, "refuse its JWTs")
	c.Flags().BoolVar(&f.noCheck, "no-check", false, "do not ask the provider about itself")
	var algorithms []string
	for _, name := range token.ProviderAlgorithms() {
		algorithms = append(algorithms, string(name))
	}
	c.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions(algorithms, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("role-map", a.completeRoleMap)
	c.RegisterFlagCompletionFunc("require", cobra.FixedCompletions(publicClaims, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
}

// apply changes of a provider what the command line names.
func (f *providerFlags) apply(c *cobra.Command, p *token.Provider) (err error) {
	changed := c.Flags().Changed
	f.applyTexts(changed, p)
	if changed("unlinked") {
		p.Unlinked = f.unlinked
	}
	if changed("disabled") {
		p.Disabled = f.disabled
	}
	if changed("leeway") {
		if p.Leeway, err = token.ParseDuration(f.leeway); err != nil {
			return fmt.Errorf("--leeway: %w", err)
		}
	}
	if changed("audience") {
		p.Audiences, _ = eachOrNone(f.audiences, func(s string) (string, error) { return s, nil })
	}
	if changed("algorithm") {
		if p.Algorithms, err = eachOrNone(f.algorithms, token.ParseProviderAlgorithm); err != nil {
			return err
		}
	}
	if changed("role-map") {
		if p.RoleMap, err = eachOrNone(f.roleMap, parseRoleMapping); err != nil {
			return err
		}
	}
	if changed("require") {
		if p.Require, err = eachOrNone(f.require, parseClaimValue); err != nil {
			return err
		}
	}
	if changed("certificate") {
		files, err := eachOrNone(f.certificates, readCertificates)
		if err != nil {
			return err
		}
		p.Certificates = nil
		for _, certificates := range files {
			p.Certificates = append(p.Certificates, certificates...)
		}
	}
	return nil
}

func (f *providerFlags) applyTexts(changed func(string) bool, p *token.Provider) {
	for _, text := range []struct {
		flag, value string
		to          *string
		optional    bool
	}{
		{"issuer", f.issuer, &p.Issuer, false}, {"claim", f.claim, &p.Claim, false},
		{"jwks-url", f.jwksURL, &p.JWKSURL, true}, {"role-claim", f.roleClaim, &p.RoleClaim, true}, {"client-id", f.clientID, &p.ClientID, true},
	} {
		switch {
		case !changed(text.flag):
		case text.optional && text.value == none:
			*text.to = ""
		default:
			*text.to = text.value
		}
	}
}

// eachOrNone reads the values of a flag that may be repeated; none alone stands
// for having none.
func eachOrNone[T any](values []string, read func(string) (T, error)) (list []T, err error) {
	if len(values) == 1 && values[0] == none {
		return nil, nil
	}
	for _, text := range values {
		v, err := read(text)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// parseRoleMapping reads VALUE=ROLE. The value may hold the sign, as cn=admins
// does; no role does.
func parseRoleMapping(s string) (m token.RoleMapping, err error) {
	i := strings.LastIndexByte(s, '=')
	if i < 1 {
		return m, token.Errorf(token.ErrUsage, "--role-map %q is not VALUE=ROLE", s).WithHint("such as --role-map admins=%s", token.Admin)
	}
	m.From = s[:i]
	if m.Role, err = token.ParseRole(s[i+1:]); err != nil {
		return m, fmt.Errorf("--role-map %q: %w", s, err)
	}
	return m, nil
}

// publicClaims are those by which systems that serve everybody say whose job it
// is. Names can be given to others, numbers are not.
var publicClaims = []string{"repository_owner_id=\tGitHub: the organisation", "namespace_id=\tGitLab: the group"}

// parseClaimValue reads CLAIM=VALUE. The value may hold the sign; claims that do
// are not known.
func parseClaimValue(s string) (v token.ClaimValue, err error) {
	claim, value, ok := strings.Cut(s, "=")
	if !ok || claim == "" || value == "" {
		return v, token.Errorf(token.ErrUsage, "--require %q is not CLAIM=VALUE", s).WithHint("such as --require repository_owner_id=12345")
	}
	return token.ClaimValue{Claim: claim, Value: value}, nil
}

// completeRoleMap offers roles behind the sign. What a provider says of people
// nobody here knows.
func (a *app) completeRoleMap(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	i := strings.LastIndexByte(toComplete, '=')
	if i < 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	roles, directive := a.completeRoles(c, args, "")
	for n := range roles {
		roles[n] = toComplete[:i+1] + roles[n]
	}
	return roles, directive
}

// maxCertificateFile is more than a file with as many certificates as a
// provider may have, in PEM.
const maxCertificateFile = 256 << 10

// readCertificates reads the certificates of a file, PEM or DER, as DER.
func readCertificates(path string) (all [][]byte, err error) {
	text, err := readUpTo(path, maxCertificateFile)
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "the certificate file %s cannot be read: %w", path, err)
	}
	if len(text) == maxCertificateFile {
		return nil, token.Errorf(token.ErrUsage, "the certificate file %s is over %d bytes long", path, maxCertificateFile-1)
	}
	if all, err = certificatesIn(text); err != nil {
		return nil, fmt.Errorf("the certificate file %s: %w", path, err)
	}
	for _, der := range all {
		if err := idp.CheckCertificate(der); err != nil {
			return nil, fmt.Errorf("the certificate file %s: %w", path, err)
		}
	}
	return all, nil
}

func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func certificatesIn(text []byte) (all [][]byte, err error) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		return [][]byte{text}, nil
	}
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil && len(all) == 0:
			return nil, token.Errorf(token.ErrUsage, "it has no certificate that can be read")
		case block == nil && bytes.Contains(text, []byte("-----BEGIN ")):
			return nil, token.Errorf(token.ErrUsage, "it is damaged behind certificate %d", len(all))
		case block == nil:
			return all, nil
		case block.Type != "CERTIFICATE":
			return nil, token.Errorf(token.ErrUsage, "it has a %q, which is no certificate", block.Type).WithHint("name a file with certificates alone")
		}
		all, text = append(all, block.Bytes), rest
	}
}

// askTimeout bounds the question to a provider that is being configured.
const askTimeout = 3 * time.Second

// ask tells what can be known of the keys of a provider that was configured. It
// is a note: a provider that does not answer now may do so later.
func (f *providerFlags) ask(ctx context.Context, a *app, p *token.Provider) {
	for _, der := range p.Certificates {
		// It could be read when it was taken.
		if c, err := x509.ParseCertificate(der); err == nil && time.Now().After(c.NotAfter) {
			a.say("warning: the certificate of %s expired at %s: no JWT is accepted by it", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if f.noCheck || p.JWKSURL != "" || len(p.Certificates) > 0 {
		return
	}
	m, err := idp.Discover(ctx, idp.Options{Timeout: askTimeout}, p.Issuer)
	switch {
	case err != nil:
		a.say("warning: its JWTs may be refused: %v", err)
	case !token.IsFetchable(m.JWKSURL):
		a.say("warning: its JWTs will be refused: the provider at %s has its keys at %q, where nobody can fetch them safely", p.Issuer, m.JWKSURL)
	default:
		a.say("the provider answers, and has its keys at %s", m.JWKSURL)
	}
}
