package parity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proto/cats"
)

// roots are the views that no other leads to, and those of all names in the rows: of an application with services alone, for example, no
// list of applications tells.
func (s *suite) roots(ctx context.Context) ([]view, error) {
	views := []view{
		{class: "/applications", path: "/applications"},
		{class: "/applications?expand", path: "/applications?expand=false"},
		{class: "/applications?restricted", path: "/applications?restricted=false"},
		{class: "/securityGroups", path: "/securityGroups"},
		{class: "/kubernetes/loadBalancers", path: "/kubernetes/loadBalancers"},
	}
	views = append(views, ofApplication("no-such-application")...)
	views = append(views, searches(len(s.pairs))...)
	for i, p := range s.pairs {
		views = append(views, ofPair(i)...)
		for _, account := range p.accounts() {
			keys, err := s.keys(ctx, account)
			if err != nil {
				return nil, err
			}
			for _, key := range keys {
				views = append(views, ofKey(i, key)...)
			}
		}
	}
	return views, nil
}

// keys are those of an account's rows.
func (s *suite) keys(ctx context.Context, account string) ([]cats.Key, error) {
	tables, err := s.tables(ctx, false)
	if err != nil {
		return nil, err
	}
	var keys []cats.Key
	for _, table := range tables {
		rows, err := s.db.QueryContext(ctx, "SELECT id FROM `"+table+"` WHERE agent LIKE ?", account+"/%") //nolint:gosec // a table's name
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return nil, err
			}
			_, key, err := cats.ParseID(id)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// ofPair are views of an account, and of names that it does not have.
func ofPair(i int) []view {
	const groups = "/securityGroups/ACCOUNT"
	return []view{
		{class: groups, path: groups, pair: i},
		{class: groups + "?region", path: groups + "?region=golden", pair: i},
		{class: groups + "/kubernetes", path: groups + "/kubernetes", pair: i},
		{class: groups + "/kubernetes?region", path: groups + "/kubernetes?region=golden", pair: i},
		{class: groups + "/kubernetes/{name}", path: groups + "/kubernetes/networkPolicy%20absent", pair: i},
		{class: groups + "/kubernetes/{region}/{name}", path: groups + "/kubernetes/golden/networkPolicy%20absent", pair: i},
		{class: "/instances/ACCOUNT/{region}/{id}", path: "/instances/ACCOUNT/golden/pod%20absent", pair: i},
		{class: "/instances/ACCOUNT/{region}/{id}", path: "/instances/ACCOUNT/golden/no-kind", pair: i},
		{class: "/serverGroups/ACCOUNT/{region}/{name}", path: "/serverGroups/ACCOUNT/golden/replicaSet%20absent", pair: i},
		{class: "/serverGroups?ids", path: "/serverGroups?ids=ACCOUNT:golden:replicaSet%20absent", pair: i},
		{class: "/kubernetes/loadBalancers/ACCOUNT/{region}/{name}", path: "/kubernetes/loadBalancers/ACCOUNT/golden/service%20absent", pair: i},
		{class: "/applications/{app}/clusters/ACCOUNT/{cluster}", path: "/applications/web/clusters/ACCOUNT/absent", pair: i},
		{class: "/elasticIps/ACCOUNT", path: "/elasticIps/ACCOUNT", pair: i},
	}
}

// ofKey are the views of one row.
func ofKey(i int, key cats.Key) []view {
	switch key.Type {
	case cats.Applications:
		return append(ofApplication(key.Name), ofApplicationAndPair(i, key.Name)...)
	case cats.Clusters:
		return ofCluster(i, key.Scope, key.Name)
	}
	return ofObject(i, key.Type, key.Scope, string(key.Type)+" "+key.Name, "any")
}

// ofApplication are views that answer for all accounts.
func ofApplication(app string) []view {
	const class = "/applications/{app}"
	path := "/applications/" + escape(app)
	views := []view{
		{class: class, path: path},
		{class: class + "/clusters", path: path + "/clusters"},
		{class: class + "/serverGroups", path: path + "/serverGroups"},
		{class: class + "/serverGroups?expand", path: path + "/serverGroups?expand=true"},
		{class: class + "/serverGroups?cloudProvider", path: path + "/serverGroups?cloudProvider=kubernetes"},
		{class: class + "/serverGroups?cloudProvider", path: path + "/serverGroups?cloudProvider=aws"},
		{class: class + "/serverGroupManagers", path: path + "/serverGroupManagers"},
		{class: class + "/loadBalancers", path: path + "/loadBalancers"},
		{class: class + "/rawResources", path: path + "/rawResources"},
		{class: "/serverGroups?applications", path: "/serverGroups?applications=web," + escape(app)},
		{class: "/search?q=APP", path: "/search?platform=kubernetes&type=applications&type=clusters&type=serverGroups&type=loadBalancers&q=" + escape(app)},
	}
	for i := range views {
		views[i].app = app
	}
	return views
}

func ofApplicationAndPair(i int, app string) []view {
	path := "/applications/" + escape(app) + "/clusters/ACCOUNT"
	return []view{{class: "/applications/{app}/clusters/ACCOUNT", path: path, app: app, pair: i}}
}

func ofCluster(i int, app, cluster string) []view {
	const class = "/applications/{app}/clusters/ACCOUNT/{cluster}"
	path := "/applications/" + escape(app) + "/clusters/ACCOUNT/" + escape(cluster)
	subset := "/applications/" + escape(app) + "/serverGroups?clusters=ACCOUNT:" + escape(cluster)
	views := []view{
		{class: class, path: path},
		{class: class + "?expand", path: path + "?expand=false"},
		{class: class + "/kubernetes", path: path + "/kubernetes"},
		{class: class + "/kubernetes?expand", path: path + "/kubernetes?expand=false"},
		{class: class + "/kubernetes/serverGroups", path: path + "/kubernetes/serverGroups"},
		{class: class + "/kubernetes/serverGroups?region", path: path + "/kubernetes/serverGroups?region=parity"},
		{class: class + "/kubernetes/serverGroups?expand", path: path + "/kubernetes/serverGroups?expand=false"},
		{class: "/applications/{app}/serverGroups?clusters", path: subset},
		{class: "/applications/{app}/serverGroups?clusters&expand", path: subset + "&expand=true"},
	}
	for i := range views {
		views[i].app = app
	}
	for j := range views {
		views[j].pair = i
	}
	return views
}

const inCluster = "/applications/{app}/clusters/ACCOUNT/{cluster}/kubernetes"

// targets are what Orca asks clusters for.
var targets = []string{"current_asg_dynamic", "ancestor_asg_dynamic", "oldest_asg_dynamic", "largest", "fail", "no-such-target"}

// ofServerGroup are the views of a server group in its cluster.
func ofServerGroup(i int, app, cluster, region, name string) []view {
	const class = inCluster
	path := "/applications/" + escape(app) + "/clusters/ACCOUNT/" + escape(cluster) + "/kubernetes"
	views := []view{
		{class: class + "/serverGroups/{name}", path: path + "/serverGroups/" + escape(name)},
		{class: class + "/serverGroups/{name}?region", path: path + "/serverGroups/" + escape(name) + "?region=" + escape(region)},
	}
	for i, target := range targets {
		if !oneOf(uint32(len(targets)), uint32(i), path+name) { //nolint:gosec // small
			continue // none of them has an answer: see contentless
		}
		at := path + "/" + escape(region) + "/serverGroups/target/" + target
		views = append(views,
			view{class: class + "/{region}/serverGroups/target/{target}", path: at},
			view{class: class + "/{region}/serverGroups/target/{target}?onlyEnabled", path: at + "?onlyEnabled=true&validateOldest=false"},
		)
	}
	at := path + "/" + escape(region) + "/serverGroups/target/newest/"
	for _, summary := range []string{"image", "images"} {
		views = append(views, view{class: class + "/{region}/serverGroups/target/{target}/{summary}", path: at + summary})
	}
	for j := range views {
		views[j].app, views[j].pair = app, i
	}
	return views
}

// ofObject are the views of one object by its full name, as its kind has them.
func ofObject(i int, kind cats.Type, region, name, app string) []view {
	if region == "" {
		return nil // no path has room for an empty element
	}
	full := escape(region) + "/" + escape(name)
	var views []view
	switch kind.SpinnakerKind() {
	case cats.ServerGroups:
		views = append(views,
			view{class: "/serverGroups/ACCOUNT/{region}/{name}", path: "/serverGroups/ACCOUNT/" + full},
			view{class: "/serverGroups/ACCOUNT/{region}/{name}?includeDetails", path: "/serverGroups/ACCOUNT/" + full + "?includeDetails=false"},
			view{class: "/applications/{app}/serverGroups/ACCOUNT/{region}/{name}", path: "/applications/" + escape(app) + "/serverGroups/ACCOUNT/" + full},
			view{class: "/serverGroups?ids", path: "/serverGroups?ids=ACCOUNT:" + escape(region+":"+name)},
		)
	case cats.Instances:
		views = append(views, view{class: "/instances/ACCOUNT/{region}/{id}", path: "/instances/ACCOUNT/" + full})
	case cats.LoadBalancers:
		views = append(views, view{class: "/kubernetes/loadBalancers/ACCOUNT/{region}/{name}", path: "/kubernetes/loadBalancers/ACCOUNT/" + full})
	case cats.SecurityGroups:
		views = append(views,
			view{class: "/securityGroups/ACCOUNT/kubernetes/{region}/{name}", path: "/securityGroups/ACCOUNT/kubernetes/" + full},
			view{class: "/securityGroups/ACCOUNT/kubernetes/{name}", path: "/securityGroups/ACCOUNT/kubernetes/" + escape(name)},
		)
	case cats.Unclassified:
		if strings.HasPrefix(string(kind), "CronTab.") { // a server group by the accounts' customResources
			views = append(views, view{class: "/serverGroups/ACCOUNT/{region}/{name}", path: "/serverGroups/ACCOUNT/" + full})
		}
	}
	for j := range views {
		views[j].pair = i
	}
	return views
}

// searches are what people type, and a little more, for each type and several together.
func searches(pairs int) []view {
	types := []string{
		"applications", "clusters", "serverGroupManagers", "serverGroups", "instances", "loadBalancers", "securityGroups", "configs", "unclassified",
		"deployment", "replicaSet", "pod", "configMap", "CronTab.stable.example.com", "projects", "no-such-type",
	}
	terms := []string{"", "web", "PAY", "parity", "golden-two", "v001", "größe", "漢字", "a_b", "100%25", "*", "a:b", "pod%20", "no-such-name"}
	var views []view
	for _, kind := range types {
		for _, term := range terms {
			views = append(views, view{class: "/search?q&type", path: "/search?type=" + kind + "&q=" + escape(term)})
		}
	}
	for _, term := range terms {
		all := "/search?type=" + strings.Join(types[:9], "&type=") + "&q=" + escape(term)
		views = append(views,
			view{class: "/search?q&type&type…", path: all},
			view{class: "/search?q&type&type…&platform", path: all + "&platform=kubernetes"},
			view{class: "/search?q&type&type…&platform", path: all + "&platform=aws"},
			view{class: "/search?q", path: "/search?q=" + escape(term)},
		)
	}
	// By a part of the key that names the account, the matches are those of one account, and can be counted.
	for i := range pairs {
		for _, namespace := range []string{"parity", "parity-two", "golden"} {
			for _, kind := range []string{"serverGroups", "instances", "loadBalancers"} {
				at := "/search?platform=kubernetes&type=" + kind + "&q=" + escape(":ACCOUNT:"+namespace+":")
				views = append(views, view{class: "/search?q=:ACCOUNT:", path: at, pair: i})
			}
		}
	}
	return views
}

// lead returns the views of what a view of a pair's account tells about.
func (c *crawl) lead(v view, part any) []view {
	l := leader{view: v}
	switch v.class {
	case "/applications":
		for _, item := range list(part) {
			l.views = append(l.views, ofApplication(text(item, "name"))...)
		}
	case "/applications/{app}/clusters":
		for i := range c.pairs {
			for _, name := range list(member(part, masked)) {
				l.views = append(l.views, ofCluster(i, v.app, fmt.Sprint(name))...)
			}
		}
	}
	l.walk(part, "", "")
	if v.shared() { // whichever pair told, both are asked
		for _, found := range slices.Clone(l.views) {
			for i := range c.pairs {
				found.pair = i
				l.views = append(l.views, found)
			}
		}
	}
	return l.views
}

// leader finds objects in a view.
type leader struct {
	view  view
	views []view
}

// walk finds names with a kind, and the region and application that they or what is around them are in.
func (l *leader) walk(part any, region, app string) {
	switch v := part.(type) {
	case []any:
		for _, item := range v {
			l.walk(item, region, app)
		}
	case map[string]any:
		for _, name := range []string{"region", "namespace", "zone", "availabilityZone", "location"} {
			if found := text(v, name); found != "" {
				region = found
				break
			}
		}
		moniker := member(v, "moniker")
		if found := text(moniker, "app"); found != "" {
			app = found
		}
		l.object(v, region, app, text(moniker, "cluster"))
		for _, inner := range v {
			l.walk(inner, region, app)
		}
	}
}

func (l *leader) object(object map[string]any, region, app, cluster string) {
	for _, field := range []string{"name", "humanReadableName"} {
		name := text(object, field)
		kind, _, ok := strings.Cut(name, " ")
		if !ok || region == "" {
			continue
		}
		if app == "" {
			app = "any"
		}
		t := cats.ParseType(kind)
		l.views = append(l.views, ofObject(l.view.pair, t, region, name, app)...)
		if t.SpinnakerKind() == cats.ServerGroups && cluster != "" {
			l.views = append(l.views, ofServerGroup(l.view.pair, app, cluster, region, name)...)
		}
	}
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}

func member(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}

func text(value any, name string) string {
	s, _ := member(value, name).(string)
	return s
}
