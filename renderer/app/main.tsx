import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "../client/connect.ts";
import { ApiProvider } from "../client/context.tsx";
import { ToastProvider } from "../ui/toasts.tsx";
import { App } from "./App.tsx";
import "./app.css";
import { ErrorBoundary } from "./ErrorBoundary.tsx";

const client = connect(window);
const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no element with the id root.");

createRoot(root).render(
  <StrictMode>
    <ErrorBoundary>
      <ApiProvider api={client.api}>
        <ToastProvider>
          <App client={client} />
        </ToastProvider>
      </ApiProvider>
    </ErrorBoundary>
  </StrictMode>,
);
