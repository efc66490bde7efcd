// The panel's pages by address. All names in here are invented; they stand for customers' names, and none of them may
// show up at the receiver.

export interface Entry {
  href: string;
  label: string;
}

export interface Group {
  title: string;
  entries: Entry[];
}

export interface Page {
  title: string;
  lead: string;
  columns: string[];
  rows: string[][];
}

const workspace = "#/w/acme-prod";
export const home = `${workspace}/p/billing-7/tenants`;

const projects = ["billing-7"];

export function addProject(name: string): string {
  if (!projects.includes(name)) projects.push(name);
  return `${workspace}/p/${name}/tenants`;
}

export function groups(): Group[] {
  return [
    ...projects.map((name) => ({
      title: `Project ${name}`,
      entries: [
        { href: `${workspace}/p/${name}/tenants`, label: "Tenants" },
        { href: `${workspace}/p/${name}/access-management/role-mapping/overview`, label: "Role mapping" },
        { href: `${workspace}/p/${name}/i/azure-prod/overview/azure_kubernetes_service`, label: "Kubernetes service" },
      ],
    })),
    { title: "Workspace acme-prod", entries: [{ href: `${workspace}/access-management/api-keys`, label: "API keys" }] },
    {
      title: "meshPanel",
      entries: [
        { href: "#/register", label: "Register" },
        { href: "#/version", label: "Version" },
      ],
    },
  ];
}

const pages: [RegExp, (...found: string[]) => Page][] = [
  [
    /^#\/w\/[^/]+\/p\/([^/]+)\/tenants$/,
    (project) => ({
      title: "Tenants",
      lead: `Where project ${project} runs.`,
      columns: ["Tenant", "Platform", "Landing zone", "Status"],
      rows: [
        [`${project}-prod`, "azure-prod", "Regulated", "Ready"],
        [`${project}-test`, "azure-prod", "Standard", "Ready"],
        [`${project}-analytics`, "aws-eu", "Standard", "Replicating"],
      ],
    }),
  ],
  [
    /^#\/w\/[^/]+\/p\/([^/]+)\/access-management\/role-mapping\/overview$/,
    (project) => ({
      title: "Role mapping",
      lead: `Who may do what in project ${project}.`,
      columns: ["Person", "Project role", "Platform role"],
      rows: [
        ["Ada Lovelace", "Project admin", "Owner"],
        ["Grace Hopper", "Project user", "Contributor"],
        ["Edsger Dijkstra", "Project reader", "Reader"],
      ],
    }),
  ],
  [
    /^#\/w\/[^/]+\/p\/([^/]+)\/i\/([^/]+)\/overview\/azure_kubernetes_service$/,
    (project, platform) => ({
      title: "Azure Kubernetes Service",
      lead: `Clusters of project ${project} on ${platform}.`,
      columns: ["Namespace", "Cluster", "Nodes", "Status"],
      rows: [
        [`${project}-web`, `${platform}-1`, "3", "Ready"],
        [`${project}-jobs`, `${platform}-2`, "5", "Ready"],
      ],
    }),
  ],
  [
    /^#\/w\/[^/]+\/access-management\/api-keys$/,
    () => ({
      title: "API keys",
      lead: "Keys that give programs access to this workspace.",
      columns: ["Name", "Created by", "Expires"],
      rows: [
        ["terraform-pipeline", "Ada Lovelace", "in 12 days"],
        ["cost-report", "Grace Hopper", "in 3 months"],
      ],
    }),
  ],
  [
    /^#\/register$/,
    () => ({
      title: "Register",
      lead: "Add a workspace to the platform.",
      columns: ["Step", "What is needed"],
      rows: [
        ["1", "A name for the workspace"],
        ["2", "A cost centre"],
        ["3", "Two people who administrate it"],
      ],
    }),
  ],
  [
    /^#\/version$/,
    () => ({
      title: "Version",
      lead: "What is running here.",
      columns: ["Part", "Version"],
      rows: [
        ["meshPanel", "demo"],
        ["meshfed-api", "demo"],
      ],
    }),
  ],
];

export function find(hash: string): Page {
  for (const [pattern, page] of pages) {
    const found = pattern.exec(hash.split("?")[0]!);
    if (found) return page(...found.slice(1).map(decodeURIComponent));
  }
  return { title: "Page not found", lead: "There is nothing at this address.", columns: [], rows: [] };
}
