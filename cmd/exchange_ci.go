package cmd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Variables of the environment of a job: of GitHub Actions, with which it asks
// for its identity token and gives outputs to the steps after it, and what GitLab
// is to call the identity token of a job.
const (
	githubURL    = "ACTIONS_ID_TOKEN_REQUEST_URL"
	githubBearer = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	githubOutput = "GITHUB_OUTPUT"
	gitlabToken  = "TOKENCTL_ID_TOKEN"
)

// subjectInput is where the JWT comes from that stands in the place of a refresh
// token (RFC 8693).
type subjectInput struct {
	in       secretInput
	github   bool
	audience string
	gitlab   bool
	variable string
}

func (s *subjectInput) bind(c *cobra.Command) {
	s.in.bind(c, "subject-token", "subject token")
	f := c.Flags()
	f.BoolVar(&s.github, "github-actions", false, "the subject token is the identity token of this job of GitHub Actions")
	f.StringVar(&s.audience, "audience", "", "with --github-actions: the audience of that token, one of the identity provider's (default the server's URL)")
	f.BoolVar(&s.gitlab, "gitlab-ci", false, "the subject token is the identity token of this job of GitLab CI")
	f.StringVar(&s.variable, "id-token-variable", gitlabToken, "with --gitlab-ci: the variable that has it, as id_tokens in the job's YAML names it")
}

func (s *subjectInput) given() bool { return s.github || s.gitlab || s.in.given() }

// check refuses flags that name two tokens, or none.
func (s *subjectInput) check(c *cobra.Command, refresh bool) error {
	sources := 0
	for _, given := range []bool{s.github, s.gitlab, s.in.given()} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return token.Errorf(token.ErrUsage, "--github-actions, --gitlab-ci and --subject-token-… exclude each other: each names the subject token")
	case sources > 0 && refresh:
		return token.Errorf(token.ErrUsage, "a subject token takes the place of a refresh token: name one of them")
	case s.audience != "" && !s.github:
		return token.Errorf(token.ErrUsage, "--audience goes with --github-actions").WithHint("--resource is the audience of the access token")
	case c.Flags().Changed("id-token-variable") && !s.gitlab:
		return token.Errorf(token.ErrUsage, "--id-token-variable goes with --gitlab-ci")
	}
	return nil
}

func (s *subjectInput) read(ctx context.Context, a *app) (secret.Secret, error) {
	switch {
	case s.github:
		return s.fromGitHub(ctx, a)
	case s.gitlab:
		return s.fromGitLab(a)
	}
	return s.in.read(ctx, a)
}

// fromGitLab takes the token out of the variable that GitLab puts it into.
func (s *subjectInput) fromGitLab(a *app) (secret.Secret, error) {
	text := a.env(s.variable)
	if text != "" {
		return secret.FromText(text), nil
	}
	audience := "https://tokens.example.org"
	if t, err := a.target(); err == nil && t.server != "" {
		audience = t.server
	}
	return secret.Secret{}, token.Errorf(token.ErrUsage, "the variable %s is not set", s.variable).
		WithHint("the job's YAML has GitLab set it: id_tokens: {%s: {aud: %q}}", s.variable, audience)
}

// fromGitHub asks GitHub for the token, as its documentation has it: a GET of the
// URL in the environment, with the audience beside what is there.
func (s *subjectInput) fromGitHub(ctx context.Context, a *app) (secret.Secret, error) {
	at, bearer := a.env(githubURL), a.env(githubBearer)
	if at == "" || bearer == "" {
		return secret.Secret{}, token.Errorf(token.ErrUsage, "%s and %s are not both set", githubURL, githubBearer).
			WithHint("the job of GitHub Actions needs permissions: {id-token: write}")
	}
	u, err := url.Parse(at)
	if err != nil || !token.IsFetchable(at) {
		return secret.Secret{}, token.Errorf(token.ErrUsage, "%s is no https URL", githubURL)
	}
	audience, err := s.githubAudience(a)
	if err != nil {
		return secret.Secret{}, err
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, a.settings.RequestTimeout())
	defer cancel()
	return askGitHub(ctx, u.String(), bearer)
}

// githubAudience is the server's URL unless a flag says otherwise: the provider's
// audiences are known to the server alone.
func (s *subjectInput) githubAudience(a *app) (string, error) {
	if s.audience != "" {
		return s.audience, nil
	}
	t, err := a.target()
	if err == nil && t.server == "" {
		err = token.Errorf(token.ErrUsage, "--audience is missing: the tokens are in a file, which has no URL to name").WithHint("it is one of the identity provider's: tokenctl admin idp show NAME")
	}
	return t.server, err
}

// maxIdentityAnswer is the longest answer of GitHub that is read, in bytes.
const maxIdentityAnswer = 64 << 10

// askGitHub asks once, and goes nowhere else: the credential in it is GitHub's.
func askGitHub(ctx context.Context, at, bearer string) (none secret.Secret, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return none, token.Errorf(token.ErrUsage, "%s cannot be asked", githubURL)
	}
	r.Header.Set("Authorization", "bearer "+bearer)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "tokenctl/"+version().Version)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	var inURL *url.Error // the URL is of no use to anybody
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	if err != nil {
		return none, token.Errorf(token.ErrCannotTell, "the job's identity token cannot be had from GitHub: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return none, token.Errorf(token.ErrRefused, "no identity token for this job, says GitHub: %.100s", response.Status).WithHint("the job needs permissions: {id-token: write}")
	default:
		return none, token.Errorf(token.ErrCannotTell, "no identity token from GitHub now: %.100s", response.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxIdentityAnswer)).Decode(&answer); err != nil || answer.Value == "" {
		return none, token.Errorf(token.ErrCannotTell, "the answer of GitHub has no identity token in it")
	}
	return secret.FromText(answer.Value), nil
}

// ciOutput hands an access token to the steps of a CI job that come after this
// one.
type ciOutput struct {
	system string // empty: it goes where others go
	name   string
	file   *os.File
}

func (o *ciOutput) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.system, "ci", "", "github: mask the access token in the job's log, and make it an output of this step")
	f.StringVar(&o.name, "ci-output-name", "access_token", "with --ci: the name of the output")
	c.RegisterFlagCompletionFunc("ci", cobra.FixedCompletions([]string{"github"}, cobra.ShellCompDirectiveNoFileComp))
}

var outputName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func (o *ciOutput) check(h *handover) error {
	switch {
	case o.system == "":
		return nil
	case o.system == "gitlab":
		return token.Errorf(token.ErrUsage, "there is no place for a secret between jobs of GitLab: everybody who sees the job can download its dotenv artifact").
			WithHint("keep it within the job: tokenctl exec NAME -- COMMAND, or ACCESS=$(tokenctl exchange --gitlab-ci)")
	case o.system != "github":
		return token.Errorf(token.ErrUsage, "--ci %q is not github", o.system)
	case h.file != "" || h.copy != "":
		return token.Errorf(token.ErrUsage, "--ci has a place of its own for the access token: leave --output-file and --copy out")
	case !outputName.MatchString(o.name):
		return token.Errorf(token.ErrUsage, "--ci-output-name %q is no name of an output: letters, digits, - and _", o.name)
	}
	return nil
}

// open says before a refresh token is used up whether the output can be written.
func (o *ciOutput) open(a *app) error {
	if o.system == "" {
		return nil
	}
	path := a.env(githubOutput)
	if path == "" {
		return token.Errorf(token.ErrUsage, "%s is not set: this is no step of GitHub Actions", githubOutput).WithHint("leave --ci out, and the access token goes to standard output")
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 { // it would wait for who reads it
		err = errors.New("it is no file")
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		return token.Errorf(token.ErrUsage, "the file of %s cannot be opened: %w", githubOutput, err)
	}
	o.file = f
	return nil
}

// oneWord is what a JWT has: nothing that ends a line or begins a command of the
// runner, whatever a server sends.
var oneWord = regexp.MustCompile(`^[\w.-]+$`)

// mask has the runner hide a secret in all that the job writes from now on. The
// runner reads both streams for its commands.
func (o *ciOutput) mask(a *app, s secret.Secret) error {
	if !oneWord.MatchString(s.Reveal()) {
		return token.Errorf(token.ErrCannotTell, "the answer is no token: it has other characters than letters, digits, '.', '-' and '_'")
	}
	_, err := fmt.Fprintf(a.stderr, "::add-mask::%s\n", s.Reveal())
	return written(err)
}

// deliver masks the access token, and only then writes it anywhere.
func (o *ciOutput) deliver(a *app, access authority.AccessToken) error {
	if err := o.mask(a, access.Text); err != nil {
		return err
	}
	end := "end_" + rand.Text()
	_, err := fmt.Fprintf(o.file, "%s%s<<%s\n%s\n%s\n", newLine(o.file.Name()), o.name, end, access.Text.Reveal(), end)
	return written(errors.Join(err, o.file.Close()))
}

// newLine ends the last line of a file, if nobody has.
func newLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if n, err := f.Seek(-1, io.SeekEnd); err != nil || n < 0 {
		return ""
	}
	last := make([]byte, 1)
	if _, err := io.ReadFull(f, last); err != nil || last[0] == '\n' {
		return ""
	}
	return "\n"
}
