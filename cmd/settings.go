package cmd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A setting can come from a flag, from the environment, from the context, from
// the config file, or is the default, in this order.
type setting struct {
	name     string // of the flag, and in the config file if it may stand there
	section  string // of the config file; empty: its top level
	flagName string // if it is not the name with hyphens
	short    string
	value    any // the default, whose type is that of the setting
	help     string
	file     bool // may stand in the config file
	flag     bool // is a flag
}

// keyDelimiter is between section and name for viper, which would split keys at
// dots: no key holds a name of ours.
const keyDelimiter = "::"

func (s setting) key() string {
	if s.section == "" {
		return s.name
	}
	return s.section + keyDelimiter + s.name
}

// shownAs is the name in messages.
func (s setting) shownAs() string { return strings.ReplaceAll(s.key(), keyDelimiter, ".") }

func (s setting) flagged() string {
	if s.flagName != "" {
		return s.flagName
	}
	return strings.ReplaceAll(s.name, "_", "-")
}

var allSettings = []setting{
	{name: "store", value: "", help: "where the tokens are: bolt:///path/tokens.db", file: true, flag: true},
	{name: "server", value: "", help: "the server that has the tokens: https://host[:port]", flag: true},
	{name: "context", value: "", help: "the context to work in (tokenctl context list)", flag: true},
	{name: "ca_file", value: "", help: "certificates that the server's must come from, PEM", file: true},
	{name: "insecure-plain-http", value: false, help: "allow http to a server that is not on this machine", flag: true},
	{name: "config", value: "", help: "config file", flag: true},
	{name: "output", short: "o", value: "", help: "output format: " + strings.Join(render.Formats(), ", ") + "TEXT", flag: true},
	{name: "jq", value: "", help: "filter JSON output with a jq expression", flag: true},
	{name: "color", value: "auto", help: "colour: auto, always or never", file: true, flag: true},
	{name: "quiet", short: "q", value: false, help: "say nothing but answers and errors", flag: true},
	{name: "verbose", short: "v", value: false, help: "say more on standard error", flag: true},
	{name: "yes", short: "y", value: false, help: "answer every question with yes", flag: true},
	{name: "no-input", value: false, help: "never ask", flag: true},
	{name: "timeout", value: defaultLockTimeout, help: "how long to wait for the file's lock; if set, also for a server's answer (else 10s)", file: true, flag: true},
	{name: "clipboard", value: "auto", help: "clipboard: auto, off or osc52", file: true},
	{name: insecureClearText, value: false, help: "let provisioners write passwords in clear text, for whoever reads the directory", file: true, flag: true},
	{name: "clipboard_timeout", value: terminal.DefaultClearAfter, help: "how long a secret stays on the clipboard", file: true},
}

// A file is locked for moments only, a server may be far away.
const (
	defaultLockTimeout    = time.Second
	defaultRequestTimeout = 10 * time.Second
)

// settings is the only place that knows viper.
type settings struct {
	v     *viper.Viper
	flags map[string]*pflag.Flag // by key
	path  string                 // of the config file, if there is one

	// As the config file has them.
	directories  []fileDirectory
	provisioners []fileProvisioner

	inForce string // the store that a context gives

	// skipTLSVerify is no setting: nothing but the command line of this one
	// call can say it.
	skipTLSVerify bool
}

// newSettings knows the defaults and the environment. Viper folds keys to lower
// case: no key holds a name of ours.
func newSettings() *settings {
	v := viper.NewWithOptions(viper.KeyDelimiter(keyDelimiter), viper.EnvKeyReplacer(strings.NewReplacer("-", "_", keyDelimiter, "_")))
	v.SetEnvPrefix("TOKENCTL")
	v.AutomaticEnv()
	for _, s := range everySetting() {
		v.SetDefault(s.key(), s.value)
	}
	return &settings{v: v, flags: map[string]*pflag.Flag{}}
}

func everySetting() []setting { return slices.Concat(allSettings, serveSettings) }

func (s *settings) bind(flags *pflag.FlagSet) {
	for _, set := range allSettings {
		if set.flag {
			s.bindFlag(flags, set)
		}
	}
	flags.BoolVar(&s.skipTLSVerify, "insecure-skip-tls-verify", false, "talk to a server whose certificate cannot be trusted, this once")
}

func (s *settings) bindFlag(flags *pflag.FlagSet, set setting) {
	name := set.flagged()
	switch value := set.value.(type) {
	case string:
		flags.StringP(name, set.short, value, set.help)
	case bool:
		flags.BoolP(name, set.short, value, set.help)
	case int:
		flags.IntP(name, set.short, value, set.help)
	case time.Duration:
		flags.DurationP(name, set.short, value, set.help)
	case []string:
		flags.StringSliceP(name, set.short, value, set.help)
	}
	s.flags[set.key()] = flags.Lookup(name)
	s.v.BindPFlag(set.key(), flags.Lookup(name)) // fails only for a nil flag
}

// load reads the config file and checks what has a form.
func (s *settings) load() error {
	path, explicit := s.configPath()
	if path != "" && !explicit && !filepath.IsAbs(path) { // of whatever folder we happen to be in
		return token.Errorf(token.ErrUsage, "the config file %q is not an absolute path", path).WithHint("set XDG_CONFIG_HOME or HOME to one")
	}
	if path != "" {
		values, lists, err := readConfig(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !explicit:
		case errors.Is(err, fs.ErrNotExist):
			return token.Errorf(token.ErrUsage, "there is no config file %s", path)
		case err != nil:
			return err
		default:
			s.path, s.directories, s.provisioners = path, lists.Directories, lists.Provisioners
			if err := s.v.MergeConfigMap(values); err != nil {
				return token.Errorf(token.ErrUsage, "config file %s: %w", path, err)
			}
		}
	}
	return s.check()
}

// check says which setting cannot be read, and where it comes from.
func (s *settings) check() error {
	if _, err := s.Format(); err != nil {
		return err
	}
	if _, err := s.ColourMode(); err != nil {
		return err
	}
	if _, err := s.ClipboardMode(); err != nil {
		return err
	}
	for _, set := range everySetting() {
		text := s.v.GetString(set.key())
		switch set.value.(type) {
		case bool:
			if text != "true" && text != "false" && text != "1" && text != "0" {
				return token.Errorf(token.ErrUsage, "%s %q (%s) is not true or false", set.shownAs(), text, s.origin(set))
			}
		case int:
			if n, err := strconv.Atoi(text); err != nil || n <= 0 || n > math.MaxInt32 {
				return token.Errorf(token.ErrUsage, "%s %q (%s) is not a number above 0", set.shownAs(), text, s.origin(set))
			}
		case time.Duration:
			// A bare number would be taken for nanoseconds.
			if d, err := time.ParseDuration(text); err != nil || d <= 0 || d > token.Day {
				return token.Errorf(token.ErrUsage, "%s %q (%s) is not a time between 0 and 24h", set.shownAs(), text, s.origin(set)).WithHint("write a number and a unit: 45s, 2m")
			}
		}
	}
	return nil
}

// configPath is where the config file is, and whether somebody said so.
func (s *settings) configPath() (path string, explicit bool) {
	if path = s.v.GetString("config"); path != "" {
		return path, true
	}
	dir := configFolder()
	if dir == "" {
		return "", false
	}
	return filepath.Join(dir, "config.yaml"), false
}

// configFolder is where config file and contexts are, or empty without a home.
func configFolder() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "tokenctl")
}

// fileConfig is what may stand in the config file.
type fileConfig struct {
	Store            *string    `yaml:"store"`
	CAFile           *string    `yaml:"ca_file"`
	Color            *string    `yaml:"color"`
	Timeout          *string    `yaml:"timeout"`
	Clipboard        *string    `yaml:"clipboard"`
	ClipboardTimeout *string    `yaml:"clipboard_timeout"`
	Serve            *fileServe `yaml:"serve"`

	InsecureClearText *bool `yaml:"insecure_cleartext_userpassword"`

	Directories  []fileDirectory   `yaml:"directories"`
	Provisioners []fileProvisioner `yaml:"provisioners"`
}

// readConfig reads a config file strictly: an unknown key is an error that
// names its line.
func readConfig(path string) (values map[string]any, known fileConfig, err error) {
	text, err := readRegular(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, known, err
		}
		return nil, known, token.Errorf(token.ErrUsage, "the config file cannot be read: %w", err)
	}
	wrong := func(err error) error {
		what := strings.NewReplacer("yaml: ", "", "unmarshal errors:\n  ", "", "\n  ", "; ", " in type cmd.fileConfig", "", " in type cmd.fileServe", "", " in type cmd.fileDirectory", "", " in type cmd.fileGroupRole", "", " in type cmd.fileProvisioner", "", " into cmd.fileProvisioner", " into a provisioner", " into []cmd.fileProvisioner", " into a list of provisioners", " into cmd.fileDirectory", " into a directory", " into []cmd.fileDirectory", " into a list of directories", " into cmd.fileConfig", " into settings", " into cmd.fileServe", " into settings", "field ", "key ").Replace(err.Error())
		return token.Errorf(token.ErrUsage, "config file %s: %s", path, what)
	}
	strict := yaml.NewDecoder(bytes.NewReader(text))
	strict.KnownFields(true)
	if err := strict.Decode(&known); err != nil && !errors.Is(err, io.EOF) {
		return nil, known, wrong(err)
	}
	if err := strict.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, known, wrong(errors.New("more than one document"))
	}
	values = map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, known, wrong(err)
	}
	return values, known, nil
}

// maxConfig is far more than any config file needs, in bytes.
const maxConfig = 1 << 20

// readRegular reads a file of bounded size. A pipe or a device would not end,
// and nothing could stop the waiting for it.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case info.Size() > maxConfig:
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), maxConfig)
	}
	return os.ReadFile(path)
}

// origin says where a setting comes from.
func (s *settings) origin(set setting) string {
	f := s.flags[set.key()]
	switch {
	case f != nil && f.Changed:
		return fromFlag
	case os.Getenv(envName(set.key())) != "":
		return fromEnvironment
	case set.file && s.v.InConfig(set.key()):
		return fromFile
	}
	return fromDefault
}

// originOf is origin for the setting of a name.
func (s *settings) originOf(name string) string {
	i := slices.IndexFunc(allSettings, func(set setting) bool { return set.name == name })
	return s.origin(allSettings[i])
}

// Where settings come from.
const (
	fromFlag        = "flag"
	fromEnvironment = "environment"
	fromContext     = "context"
	fromFile        = "file"
	fromDefault     = "default"
)

func envName(key string) string {
	return "TOKENCTL_" + strings.ToUpper(strings.NewReplacer("-", "_", keyDelimiter, "_").Replace(key))
}

func (s *settings) Store() string                   { return cmp.Or(s.inForce, s.v.GetString("store")) }
func (s *settings) Server() string                  { return s.v.GetString("server") }
func (s *settings) Context() string                 { return s.v.GetString("context") }
func (s *settings) CAFile() string                  { return s.v.GetString("ca_file") }
func (s *settings) PlainHTTP() bool                 { return s.v.GetBool("insecure-plain-http") }
func (s *settings) SkipTLSVerify() bool             { return s.skipTLSVerify }
func (s *settings) JQ() string                      { return s.v.GetString("jq") }
func (s *settings) Quiet() bool                     { return s.v.GetBool("quiet") }
func (s *settings) Verbose() bool                   { return s.v.GetBool("verbose") }
func (s *settings) InsecureClearText() bool         { return s.v.GetBool(insecureClearText) }
func (s *settings) Yes() bool                       { return s.v.GetBool("yes") }
func (s *settings) NoInput() bool                   { return s.v.GetBool("no-input") }
func (s *settings) Timeout() time.Duration          { return s.v.GetDuration("timeout") }
func (s *settings) ClipboardTimeout() time.Duration { return s.v.GetDuration("clipboard_timeout") }

// RequestTimeout is how long to wait for a server.
func (s *settings) RequestTimeout() time.Duration {
	if s.originOf("timeout") == fromDefault {
		return defaultRequestTimeout
	}
	return s.Timeout()
}

// Format is the output format; nothing set is the table.
func (s *settings) Format() (render.Format, error) {
	text := s.v.GetString("output")
	if text == "" {
		return render.Table, nil
	}
	return render.ParseFormat(text)
}

// FormatSet says whether somebody asked for a format.
func (s *settings) FormatSet() bool { return s.v.GetString("output") != "" || s.JQ() != "" }

func (s *settings) ColourMode() (terminal.ColourMode, error) {
	m, err := terminal.ParseColourMode(s.v.GetString("color"))
	if err != nil {
		return m, token.Errorf(token.ErrUsage, "%w", err)
	}
	return m, nil
}

func (s *settings) ClipboardMode() (terminal.ClipboardMode, error) {
	m, err := terminal.ParseClipboardMode(s.v.GetString("clipboard"))
	if err != nil {
		return m, token.Errorf(token.ErrUsage, "%w", err)
	}
	return m, nil
}

// JSONErrors says whether errors are for a program. It also works when the
// settings themselves are what is wrong.
func (s *settings) JSONErrors() bool { return isJSON(s.v.GetString("output")) }

func isJSON(format string) bool { return format == "json" || format == "jsonl" }

// asksForJSON looks for -o json on a command line that may make no sense: what
// is wrong with it is to be told in JSON too.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch name, value, joined := strings.Cut(arg, "="); {
		case arg == "--":
			return false
		case joined && (name == "--output" || name == "-o"):
			if isJSON(value) {
				return true
			}
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			if isJSON(args[i+1]) {
				return true
			}
		case strings.HasPrefix(arg, "-o") && isJSON(arg[2:]):
			return true
		}
	}
	return false
}

// shown lists the settings in force for what is worked on.
func (s *settings) shown(at target) ([]shownSetting, error) {
	var list []shownSetting
	for _, set := range everySetting() {
		value, origin := s.v.GetString(set.key()), s.origin(set)
		switch set.value.(type) {
		case time.Duration:
			value = s.v.GetDuration(set.key()).String()
		case []string:
			value = strings.Join(s.ServeList(set.name), ",")
		}
		switch set.name {
		case "config":
			if value == "" {
				value, _ = s.configPath()
			}
		case "timeout":
			if at.server != "" {
				value = s.RequestTimeout().String()
			}
		}
		if set.section == "" {
			value, origin = at.shown(set.name, value, origin)
		}
		if set.name == "store" && value == "" && at.server == "" {
			path, err := storePath("")
			if err != nil {
				return nil, err
			}
			value = "bolt://" + filepath.ToSlash(path)
		}
		list = append(list, shownSetting{set.shownAs(), value, origin})
	}
	return list, nil
}
