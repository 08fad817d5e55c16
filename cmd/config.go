package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
)

func newConfigCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show and check the settings",
		Long: `Settings come from a flag, else from the environment (TOKENCTL_…), else from the
current context, else from the config file
($XDG_CONFIG_HOME/tokenctl/config.yaml), else they are the default.`,
		Example: `  tokenctl config show --origin
  tokenctl config check`,
	}
	asGroup(c)
	c.AddCommand(newConfigShowCommand(a), newConfigCheckCommand(a))
	return c
}

// shownSetting is a setting as config show has it.
type shownSetting struct{ name, value, origin string }

func newConfigShowCommand(a *app) *cobra.Command {
	var origin bool
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show the settings in force",
		Long:    `Show the settings in force, and with --origin where each comes from.`,
		Example: `  tokenctl config show --origin`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			kind := render.Kind[shownSetting]{
				Fields: func(f *render.Fields, s *shownSetting) {
					f.Text("name", s.name)
					f.Text("value", s.value)
					if origin {
						f.Text("origin", s.origin)
					}
				},
				Columns: []render.Column[shownSetting]{
					{Header: "NAME", Text: func(s *shownSetting) string { return s.name }},
					{Header: "VALUE", Text: func(s *shownSetting) string { return s.value }},
				},
				Name: func(s *shownSetting) string { return s.name },
			}
			if origin {
				kind.Columns = append(kind.Columns, render.Column[shownSetting]{Header: "ORIGIN", Text: func(s *shownSetting) string { return s.origin }})
			}
			t, err := a.target()
			if err != nil {
				return err
			}
			shown, err := a.settings.shown(t)
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, kind, all(shown), "")
		},
	}
	c.Flags().BoolVar(&origin, "origin", false, "say where each comes from: flag, environment, context, file, default")
	return c
}

func newConfigCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the config file",
		Long: `Check the config file: every key is known, every value can be read, and every
directory could be asked, which is not done here (admin directory test does).
What is wrong is named, a key with its line; the exit code is 2 then.`,
		Example: `  tokenctl config check --config ./config.yaml`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			// Settings were read, strictly, before any command runs.
			if a.settings.path == "" {
				path, _ := a.settings.configPath()
				a.say("there is no config file at %s: all settings are defaults", path)
				return nil
			}
			dirs, err := a.directories()
			if err != nil {
				return err
			}
			if err := a.checkProvisioners(dirs); err != nil {
				return err
			}
			a.say("%s is fine", a.settings.path)
			return nil
		},
	}
}
